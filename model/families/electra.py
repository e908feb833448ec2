"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): backbone, tasks, preprocessors."""

from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.tensors import Activation, DType, Settings
from clozekit.model.families.family import DEFAULTS, SETTINGS, Family, HuggingFaceNames
from clozekit.model.families.segment_encoder import SegmentEncoder
from clozekit.model.layers.transformer_layers import truncated_normal
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import ClassifierOptions, FirstTokenClassifier
from clozekit.tokenizers.families.electra_tokenizer import ElectraTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class ElectraBackbone(SegmentEncoder):
    """ELECTRA's encoder, of a discriminator or of a generator: BERT's with embeddings of a width of their own.

    Gives a dict: sequence_output (B, T, hidden_dim) and pooled_output (B, hidden_dim). The pooler is KerasHub's: the paper and
    Hugging Face have none, and no task here reads it; what shares embeddings has none. Inputs, the other arguments and errors: see `Backbone`.

    Args:
        embedding_dim: values of an embedding, projected to hidden_dim where that is another number.
        num_segments: rows of the segment table.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.2.

    Example:

        >>> backbone = models.ElectraBackbone(
        ...     vocabulary_size=30_522, num_layers=2, num_heads=2, hidden_dim=16, embedding_dim=8, intermediate_dim=32
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(backbone(rows)["sequence_output"].shape)
        (3, 7, 16)
    """

    setting_names = (*Backbone.setting_names, "embedding_dim", "num_segments")
    own_setting_defaults: ClassVar[Settings] = {
        "activation": "gelu_approximate",
        "layer_norm_epsilon": 1e-12,
        "attention_dropout": None,
    }
    keras_hub_names: ClassVar[dict[str, str]] = {"vocabulary_size": "vocab_size"}
    has_used_pooler = False

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        embedding_dim: int,
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
            "embedding_dim": embedding_dim,
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
        if embedding_dim != hidden_dim:
            self.make_projection(hidden_dim, dtype, prefix)
        self.transformer_layers = [
            self.encoder_layer(f"{prefix}transformer_layer_{index}", settings, dtype) for index in range(num_layers)
        ]
        if embeddings is None:
            self.make_pooler(hidden_dim, dtype)
        super().__init__(settings, dtype, **kwargs)


class ElectraMaskedLMPreprocessor(MaskedLMPreprocessor):
    """ELECTRA's masked-LM preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2: what the generator reads.

    Example:

        >>> tokenizer = models.ElectraTokenizer(tokenizer.get_vocabulary(), lowercase=True)
        >>> preprocessor = models.ElectraMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("A lazy dog.", "The fox."))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'segment_ids': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([14, 6], [1.0, 1.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = ElectraTokenizer
    has_segments = True


class ElectraTextClassifierPreprocessor(TextClassifierPreprocessor):
    """ELECTRA's text-classifier preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.1.

    Example:

        >>> tokenizer = models.ElectraTokenizer(tokenizer.get_vocabulary(), lowercase=True)
        >>> preprocessor = models.ElectraTextClassifierPreprocessor(tokenizer, sequence_length=12)
        >>> x = preprocessor(("A lazy dog.", "The fox."))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '[CLS] a lazy dog . [SEP] the fox . [SEP] [PAD] [PAD]'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = ElectraTokenizer
    has_segments = True


@keras.saving.register_keras_serializable(package="clozekit")
class ElectraMaskedLM(MaskedLM):
    """ELECTRA with the masked-LM head of its paper; with the sizes of a generator, a discriminator with it.

    Inputs, outputs, arguments and errors: see `MaskedLM`.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2; the layers are those of Hugging Face's class.

    Example:

        >>> masked_lm = models.ElectraMaskedLM(models.ElectraBackbone(1000, embedding_dim=4, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = ElectraBackbone
    preprocessor_cls = ElectraMaskedLMPreprocessor
    is_of_keras_hub = False
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-12}


@keras.saving.register_keras_serializable(package="clozekit")
class ElectraTextClassifier(FirstTokenClassifier):
    """ELECTRA with dropout, a dense layer with GELU, dropout and a dense layer on the first token.

    Inputs, outputs, the other arguments and errors: see `TextClassifier`.

    Args:
        hidden_dim: values of the first dense layer; None: the backbone's.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.1; the layers are those of Hugging Face's class.

    Example:

        >>> classifier = models.ElectraTextClassifier(models.ElectraBackbone(1000, embedding_dim=4, **small), num_classes=3)
        >>> classifier.output_shape
        (None, 3)
    """

    backbone_cls = ElectraBackbone
    preprocessor_cls = ElectraTextClassifierPreprocessor
    is_of_keras_hub = False
    pooled_activation = "gelu"
    # Its backbone has a pooler.
    pooled_name = "classifier_dense"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        hidden_dim: int | None = None,
        dropout: float = 0.1,
        **kwargs: Unpack[ClassifierOptions],
    ) -> None:
        super().__init__(backbone, num_classes, preprocessor, activation, hidden_dim, dropout, **kwargs)

    @classmethod
    def pooled_initializer(cls) -> keras.Initializer | str:
        return truncated_normal()


FAMILY = Family(
    "electra",
    ElectraTokenizer,
    ElectraBackbone,
    ElectraMaskedLM,
    ElectraTextClassifier,
    ElectraMaskedLMPreprocessor,
    ElectraTextClassifierPreprocessor,
    HuggingFaceNames(
        "electra",
        "electra.",
        head_dense="generator_predictions.dense",
        head_norm="generator_predictions.LayerNorm",
        head_bias="generator_lm_head.bias",
        decoder="generator_lm_head",
        classifier={"pooled_dense": "classifier.dense", "output_dense": "classifier.out_proj"},
        dense_parts={"embedding_projection": "embeddings_project"},
        pooler=None,
        settings={**SETTINGS, "num_segments": "type_vocab_size", "embedding_dim": "embedding_size"},
        defaults={
            **DEFAULTS,
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        },
        head_activation="gelu",
        has_detector=True,
    ),
)
