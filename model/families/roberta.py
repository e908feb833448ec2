"""RoBERTa (Liu et al. 2019, arXiv 1907.11692): backbone, tasks, preprocessors."""

from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.tensors import DType, Settings
from clozekit.model.families.family import Family, HuggingFaceNames
from clozekit.model.families.plain_encoder import PlainEncoder
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import FirstTokenClassifier
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class RobertaBackbone(PlainEncoder):
    """RoBERTa's encoder: BERT's without segments and pooler.

    Gives the hidden states (B, T, hidden_dim) alone. Row t of the position table is position t; fairseq's and Hugging Face's
    tables have two rows more in front. Inputs, arguments and errors: see `Backbone`.

    Source: Liu et al. 2019 (arXiv 1907.11692), section 2.2.

    Example:

        >>> backbone = models.RobertaBackbone(
        ...     vocabulary_size=50_265, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(backbone(rows).shape)
        (3, 7, 16)
    """

    own_setting_defaults: ClassVar[Settings] = {
        "activation": "gelu",
        "layer_norm_epsilon": 1e-5,
        "attention_dropout": None,
    }

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        attention_dropout: float | None = None,
        dtype: DType = None,
        embeddings: Self | Literal["own"] | None = None,
        **kwargs: Unpack[ModelOptions],
    ) -> None:
        settings = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "dropout": dropout,
            "max_sequence_length": max_sequence_length,
            "activation": activation,
            "layer_norm_epsilon": layer_norm_epsilon,
            "attention_dropout": attention_dropout,
        }
        self.make_layers(settings, dtype, "embeddings", embeddings)
        super().__init__(settings, dtype, **kwargs)


class RobertaMaskedLMPreprocessor(MaskedLMPreprocessor):
    """RoBERTa's masked-LM preprocessor: `<s> a </s></s> b </s>`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Liu et al. 2019 (arXiv 1907.11692), section 4.1 (dynamic masking).

    Example:

        >>> pieces = ["<s>", "<pad>", "</s>", "<unk>", "a", "Ġ", "d", "o", "g", "do", "<mask>"]
        >>> tokenizer = models.RobertaTokenizer({piece: i for i, piece in enumerate(pieces)}, ["d o"])
        >>> preprocessor = models.RobertaMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("a dog", "dog"))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([9, 0], [1.0, 0.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = RobertaTokenizer
    num_separators = 2


class RobertaTextClassifierPreprocessor(TextClassifierPreprocessor):
    """RoBERTa's text-classifier preprocessor: `<s> a </s></s> b </s>`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Liu et al. 2019 (arXiv 1907.11692), section 4.

    Example:

        >>> pieces = ["<s>", "<pad>", "</s>", "<unk>", "a", "Ġ", "d", "o", "g", "do", "<mask>"]
        >>> tokenizer = models.RobertaTokenizer({piece: i for i, piece in enumerate(pieces)}, ["d o"])
        >>> preprocessor = models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=12)
        >>> x = preprocessor(("a dog", "dog"))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '<s>a dog</s></s>dog</s><pad><pad>'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = RobertaTokenizer
    num_separators = 2


@keras.saving.register_keras_serializable(package="clozekit")
class RobertaMaskedLM(MaskedLM):
    """RoBERTa with its masked-LM head, tied to the token embedding.

    Inputs, outputs, arguments and errors: see `MaskedLM`.

    Source: Liu et al. 2019 (arXiv 1907.11692), section 2.3.

    Example:

        >>> masked_lm = models.RobertaMaskedLM(models.RobertaBackbone(1000, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = RobertaBackbone
    preprocessor_cls = RobertaMaskedLMPreprocessor
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="clozekit")
class RobertaTextClassifier(FirstTokenClassifier):
    """RoBERTa with a pooler of its own and a dense layer on the first token.

    Inputs, outputs, the other arguments and errors: see `TextClassifier`.

    Args:
        hidden_dim: values of the pooler; None: the backbone's.

    Source: Liu et al. 2019 (arXiv 1907.11692), section 5.1.

    Example:

        >>> classifier = models.RobertaTextClassifier(models.RobertaBackbone(1000, **small), num_classes=3)
        >>> rows = {name: np.ones((2, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(classifier(rows).shape)
        (2, 3)
    """

    backbone_cls = RobertaBackbone
    preprocessor_cls = RobertaTextClassifierPreprocessor


ROBERTA_NAMES = HuggingFaceNames(
    "roberta",
    "roberta.",
    head_dense="lm_head.dense",
    head_norm="lm_head.layer_norm",
    head_bias="lm_head.bias",
    decoder="lm_head.decoder",
    classifier={"pooled_dense": "classifier.dense", "output_dense": "classifier.out_proj"},
    segments="folded",
    positions_after_padding=True,
    # Whatever `hidden_act` says.
    head_activation="gelu",
)


FAMILY = Family(
    "roberta",
    RobertaTokenizer,
    RobertaBackbone,
    RobertaMaskedLM,
    RobertaTextClassifier,
    RobertaMaskedLMPreprocessor,
    RobertaTextClassifierPreprocessor,
    ROBERTA_NAMES,
)
