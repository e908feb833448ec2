"""ALBERT (Lan et al. 2019, arXiv 1909.11942): backbone, tasks, preprocessors."""

from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.tensors import DType, Settings
from clozekit.model.families.family import DEFAULTS, SETTINGS, Family, HuggingFaceNames
from clozekit.model.families.segment_encoder import SegmentEncoder
from clozekit.model.layers.transformer_layers import TransformerEncoder
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class AlbertBackbone(SegmentEncoder):
    """ALBERT's encoder: small embeddings, projected, and `num_groups` groups of layers that are repeated.

    Gives a dict: sequence_output (B, T, hidden_dim) and pooled_output (B, hidden_dim), as BERT's. Inputs, the other arguments
    and errors: see `Backbone`.

    Args:
        embedding_dim: values of an embedding, projected to hidden_dim.
        num_groups: groups of layers with weights of their own; it divides num_layers.
        num_inner_repetitions: layers in a group.
        num_segments: rows of the segment table.

    Raises:
        InputError: when num_layers is no multiple of num_groups.

    Source: Lan et al. 2019 (arXiv 1909.11942), section 3.1.

    Example:

        >>> sizes = {"vocabulary_size": 1000, "num_heads": 2, "embedding_dim": 8, "hidden_dim": 16, "intermediate_dim": 32}
        >>> once, four_times = (models.AlbertBackbone(num_layers=layers, **sizes) for layers in (1, 4))
        >>> once.count_params() == four_times.count_params()
        True
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(four_times(rows)["pooled_output"].shape)
        (3, 16)
    """

    setting_names = (*Backbone.setting_names, "num_groups", "num_inner_repetitions", "embedding_dim", "num_segments")
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
        embedding_dim: int,
        hidden_dim: int,
        intermediate_dim: int,
        num_groups: int = 1,
        num_inner_repetitions: int = 1,
        dropout: float = 0.0,
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
            "embedding_dim": embedding_dim,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "num_groups": num_groups,
            "num_inner_repetitions": num_inner_repetitions,
            "dropout": dropout,
            "max_sequence_length": max_sequence_length,
            "num_segments": num_segments,
            "activation": activation,
            "layer_norm_epsilon": layer_norm_epsilon,
            "attention_dropout": attention_dropout,
        }
        self.check_settings(settings)
        dtype = policy_of_layers(dtype)
        if num_layers % num_groups:
            raise InputError(f"num_layers must be a multiple of num_groups, got {num_layers} and {num_groups}")
        prefix = self.make_embeddings(settings, dtype, embeddings)
        self.make_projection(hidden_dim, dtype, prefix)
        self.transformer_groups = [
            [
                self.encoder_layer(f"{prefix}group_{group}_inner_layer_{inner}", settings, dtype)
                for inner in range(num_inner_repetitions)
            ]
            for group in range(num_groups)
        ]
        self._repetitions = num_layers // num_groups
        if embeddings is None:
            self.make_pooler(hidden_dim, dtype)
        super().__init__(settings, dtype, **kwargs)

    def encoder_layers(self) -> list[TransformerEncoder]:
        return [layer for group in self.transformer_groups for _ in range(self._repetitions) for layer in group]


class AlbertMaskedLMPreprocessor(MaskedLMPreprocessor):
    """ALBERT's masked-LM preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Lan et al. 2019 (arXiv 1909.11942), section 4.1; single tokens here, n-grams there.

    Example:

        >>> tokenizer = models.AlbertTokenizer.from_preset("tiny/albert")
        >>> preprocessor = models.AlbertMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("a dog", "a fox"))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'segment_ids': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([5, 5], [1.0, 1.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = AlbertTokenizer
    has_segments = True


class AlbertTextClassifierPreprocessor(TextClassifierPreprocessor):
    """ALBERT's text-classifier preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Lan et al. 2019 (arXiv 1909.11942), section 4.1.

    Example:

        >>> tokenizer = models.AlbertTokenizer.from_preset("tiny/albert")
        >>> preprocessor = models.AlbertTextClassifierPreprocessor(tokenizer, sequence_length=16)
        >>> x = preprocessor(("a dog", "a fox"))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '[CLS] a dog[SEP] a fox[SEP]<pad>'
        >>> x["segment_ids"].numpy().tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = AlbertTokenizer
    has_segments = True


@keras.saving.register_keras_serializable(package="clozekit")
class AlbertMaskedLM(MaskedLM):
    """ALBERT with its masked-LM head, tied to the token embedding, and with pair_head=True that of the order of sentences.

    Inputs, outputs, arguments and errors: see `MaskedLM`.

    Source: Lan et al. 2019 (arXiv 1909.11942), section 3.1.

    Example:

        >>> masked_lm = models.AlbertMaskedLM(models.AlbertBackbone(1000, embedding_dim=4, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertMaskedLMPreprocessor
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu_approximate", "head_layer_norm_epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="clozekit")
class AlbertTextClassifier(TextClassifier):
    """ALBERT with a dense layer on its pooled output.

    Inputs, outputs, arguments and errors: see `TextClassifier`.

    Source: Lan et al. 2019 (arXiv 1909.11942), section 4.1; fine-tuning in appendix A.4.

    Example:

        >>> classifier = models.AlbertTextClassifier(models.AlbertBackbone(1000, embedding_dim=4, **small), num_classes=3)
        >>> classifier.output_shape
        (None, 3)
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertTextClassifierPreprocessor
    # The default of the seeds; ALBERT's shared layers move with every step.
    default_learning_rate = 1e-5


def _blocks(backbone: Backbone) -> list[tuple[str, TransformerEncoder]]:
    return [
        (f"encoder.albert_layer_groups.{group}.albert_layers.{inner}", layer)
        for group, layers in enumerate(backbone.transformer_groups)
        for inner, layer in enumerate(layers)
    ]


FAMILY = Family(
    "albert",
    AlbertTokenizer,
    AlbertBackbone,
    AlbertMaskedLM,
    AlbertTextClassifier,
    AlbertMaskedLMPreprocessor,
    AlbertTextClassifierPreprocessor,
    HuggingFaceNames(
        "albert",
        "albert.",
        head_dense="predictions.dense",
        head_norm="predictions.LayerNorm",
        head_bias="predictions.bias",
        decoder="predictions.decoder",
        classifier={"output_dense": "classifier"},
        blocks=_blocks,
        block={
            "query": "attention.query",
            "key": "attention.key",
            "value": "attention.value",
            "output": "attention.dense",
            "attention_norm": "attention.LayerNorm",
            "inner": "ffn",
            "outer": "ffn_output",
            "norm": "full_layer_layer_norm",
        },
        dense_parts={"embedding_projection": "encoder.embedding_hidden_mapping_in"},
        pooler="pooler",
        settings={
            **SETTINGS,
            "num_segments": "type_vocab_size",
            "embedding_dim": "embedding_size",
            "num_groups": "num_hidden_groups",
            "num_inner_repetitions": "inner_group_num",
        },
        defaults={
            **DEFAULTS,
            "embedding_size": 128,
            "hidden_size": 4096,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "num_hidden_groups": 1,
            "inner_group_num": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "hidden_act": "gelu_new",
        },
        classifier_dropout="classifier_dropout_prob",
        default_classifier_dropout=0.1,
        pair_head="sop_classifier.classifier",
        pair_dropout="classifier_dropout_prob",
    ),
)
