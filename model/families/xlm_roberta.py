"""XLM-RoBERTa (Conneau et al. 2019, arXiv 1911.02116): RoBERTa's architecture on a SentencePiece vocabulary."""

import dataclasses
from typing import ClassVar

import keras

from clozekit.model.families.family import Family
from clozekit.model.families.roberta import (
    ROBERTA_NAMES,
    RobertaBackbone,
    RobertaMaskedLM,
    RobertaMaskedLMPreprocessor,
    RobertaTextClassifier,
    RobertaTextClassifierPreprocessor,
)
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class XLMRobertaBackbone(RobertaBackbone):
    """XLM-RoBERTa's encoder: RoBERTa's, under the name that its presets have.

    Outputs, arguments and errors are those of RoBERTa's: see `RobertaBackbone`.

    Source: Conneau et al. 2019 (arXiv 1911.02116), section 3.

    Example:

        >>> backbone = models.XLMRobertaBackbone(
        ...     vocabulary_size=1000, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32
        ... )
        >>> isinstance(backbone, models.RobertaBackbone)
        True
    """


class XLMRobertaMaskedLMPreprocessor(RobertaMaskedLMPreprocessor):
    """XLM-RoBERTa's masked-LM preprocessor: `<s> a </s></s> b </s>`, then masks.

    `<unk>` is never masked, in this family alone, as in KerasHub. What goes in and comes out, arguments and errors:
    see `MaskedLMPreprocessor`.

    Source: Conneau et al. 2019 (arXiv 1911.02116), section 3.

    Example:

        >>> tokenizer = models.XLMRobertaTokenizer.from_preset("tiny/xlm_roberta")
        >>> preprocessor = models.XLMRobertaMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("a dog", "a fox"))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([20, 0], [1.0, 0.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = XLMRobertaTokenizer
    # KerasHub never masks <unk> in this family alone.
    unselectable_roles = (*RobertaMaskedLMPreprocessor.unselectable_roles, "unk_token")


class XLMRobertaTextClassifierPreprocessor(RobertaTextClassifierPreprocessor):
    """XLM-RoBERTa's text-classifier preprocessor: `<s> a </s></s> b </s>`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Conneau et al. 2019 (arXiv 1911.02116), section 3.

    Example:

        >>> tokenizer = models.XLMRobertaTokenizer.from_preset("tiny/xlm_roberta")
        >>> preprocessor = models.XLMRobertaTextClassifierPreprocessor(tokenizer, sequence_length=12)
        >>> x = preprocessor(("a dog", "a fox"))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '<s> a dog</s></s> a fox</s><pad><pad>'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = XLMRobertaTokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class XLMRobertaMaskedLM(RobertaMaskedLM):
    """XLM-RoBERTa with its masked-LM head, tied to the token embedding.

    Inputs, outputs, arguments and errors: see `MaskedLM`.

    Source: Conneau et al. 2019 (arXiv 1911.02116), section 3.

    Example:

        >>> xlm_roberta = models.XLMRobertaTokenizer.from_preset("tiny/xlm_roberta")
        >>> backbone = models.XLMRobertaBackbone(xlm_roberta.vocabulary_size(), **small)
        >>> preprocessor = models.XLMRobertaMaskedLMPreprocessor(xlm_roberta, sequence_length=16)
        >>> masked_lm = models.XLMRobertaMaskedLM(backbone, preprocessor)
        >>> len(masked_lm.fill_mask("The <mask> fox", top_k=2)[0])
        2
    """

    backbone_cls = XLMRobertaBackbone
    preprocessor_cls = XLMRobertaMaskedLMPreprocessor


@keras.saving.register_keras_serializable(package="clozekit")
class XLMRobertaTextClassifier(RobertaTextClassifier):
    """XLM-RoBERTa with a pooler of its own and a dense layer on the first token.

    Outputs, arguments and errors are those of RoBERTa's: see `RobertaTextClassifier`.

    Source: Conneau et al. 2019 (arXiv 1911.02116), section 4.

    Example:

        >>> classifier = models.XLMRobertaTextClassifier(models.XLMRobertaBackbone(1000, **small), num_classes=3)
        >>> classifier.output_shape
        (None, 3)
    """

    backbone_cls = XLMRobertaBackbone
    preprocessor_cls = XLMRobertaTextClassifierPreprocessor


FAMILY = Family(
    "xlm_roberta",
    XLMRobertaTokenizer,
    XLMRobertaBackbone,
    XLMRobertaMaskedLM,
    XLMRobertaTextClassifier,
    XLMRobertaMaskedLMPreprocessor,
    XLMRobertaTextClassifierPreprocessor,
    dataclasses.replace(ROBERTA_NAMES, model_type="xlm-roberta"),
)
