"""BERT (Devlin et al. 2018, arXiv 1810.04805): backbone, tasks, preprocessors."""

from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.tensors import DType, Settings
from clozekit.model.families.family import SETTINGS, Family, HuggingFaceNames
from clozekit.model.families.segment_encoder import SegmentEncoder
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class BertBackbone(SegmentEncoder):
    """BERT's encoder: embeddings of tokens, positions and segments, then blocks of attention and feed-forward layers.

    Gives a dict: sequence_output (B, T, hidden_dim) and pooled_output (B, hidden_dim), a dense layer with tanh on the first
    token. `activation` is "gelu_approximate" as in the original code; it and `layer_norm_epsilon` are there for checkpoints
    that were trained with other ones. Inputs, the other arguments and errors: see `Backbone`.

    Args:
        num_segments: rows of the segment table.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.

    Example:

        >>> backbone = models.BertBackbone(
        ...     vocabulary_size=30_522, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> {name: tuple(output.shape) for name, output in backbone(rows).items()}
        {'sequence_output': (3, 7, 16), 'pooled_output': (3, 16)}
    """

    setting_names = (*Backbone.setting_names, "num_segments")
    own_setting_defaults: ClassVar[Settings] = {
        "activation": "gelu_approximate",
        "layer_norm_epsilon": 1e-12,
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
        num_segments: int = 2,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-12,
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
            "num_segments": num_segments,
            "activation": activation,
            "layer_norm_epsilon": layer_norm_epsilon,
            "attention_dropout": attention_dropout,
        }
        self.check_settings(settings)
        dtype = policy_of_layers(dtype)
        prefix = self.make_embeddings(settings, dtype, embeddings)
        self.transformer_layers = [
            self.encoder_layer(f"{prefix}transformer_layer_{index}", settings, dtype) for index in range(num_layers)
        ]
        if embeddings is None:
            self.make_pooler(hidden_dim, dtype)
        super().__init__(settings, dtype, **kwargs)


class BertMaskedLMPreprocessor(MaskedLMPreprocessor):
    """BERT's masked-LM preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1.

    Example:

        >>> preprocessor = models.BertMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("A lazy dog.", "The fox."))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'segment_ids': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([14, 6], [1.0, 1.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = BertTokenizer
    has_segments = True


class BertTextClassifierPreprocessor(TextClassifierPreprocessor):
    """BERT's text-classifier preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.

    Example:

        >>> preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=12)
        >>> x = preprocessor(("A lazy dog.", "The fox."))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '[CLS] a lazy dog . [SEP] the fox . [SEP] [PAD] [PAD]'
        >>> x["segment_ids"].numpy().tolist()
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = BertTokenizer
    has_segments = True


@keras.saving.register_keras_serializable(package="clozekit")
class BertMaskedLM(MaskedLM):
    """BERT with the masked-LM head of its paper, tied to the token embedding, and with pair_head=True that of next sentences.

    Inputs, outputs, arguments and errors: see `MaskedLM`.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1.

    Example:

        >>> preprocessor = models.BertMaskedLMPreprocessor(tokenizer, sequence_length=16)
        >>> masked_lm = models.BertMaskedLM(models.BertBackbone(tokenizer.vocabulary_size(), **small), preprocessor)
        >>> inputs, labels, weights = preprocessor(["The quick brown fox jumped."])
        >>> tuple(masked_lm(inputs).shape)
        (1, 3, 16)
    """

    backbone_cls = BertBackbone
    preprocessor_cls = BertMaskedLMPreprocessor
    # KerasHub's head keeps exact GELU and 1e-5 under a body that has neither.
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="clozekit")
class BertTextClassifier(TextClassifier):
    """BERT with a dense layer on its pooled output.

    Inputs, outputs, arguments and errors: see `TextClassifier`.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.1.

    Example:

        >>> preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16)
        >>> backbone = models.BertBackbone(tokenizer.vocabulary_size(), **small)
        >>> classifier = models.BertTextClassifier(backbone, num_classes=3, preprocessor=preprocessor, activation="softmax")
        >>> probabilities = classifier(preprocessor(["The quick brown fox."]))
        >>> tuple(probabilities.shape), round(float(np.sum(probabilities)), 4)
        ((1, 3), 1.0)
    """

    backbone_cls = BertBackbone
    preprocessor_cls = BertTextClassifierPreprocessor


FAMILY = Family(
    "bert",
    BertTokenizer,
    BertBackbone,
    BertMaskedLM,
    BertTextClassifier,
    BertMaskedLMPreprocessor,
    BertTextClassifierPreprocessor,
    HuggingFaceNames(
        "bert",
        "bert.",
        head_dense="cls.predictions.transform.dense",
        head_norm="cls.predictions.transform.LayerNorm",
        head_bias="cls.predictions.bias",
        decoder="cls.predictions.decoder",
        classifier={"output_dense": "classifier"},
        settings={**SETTINGS, "num_segments": "type_vocab_size"},
        pair_head="cls.seq_relationship",
    ),
)
