"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): backbone, tasks, preprocessors."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.initializer_range import initializer_range
from clozekit.model.common.tensors import Activation, DType, Outputs, Rows, Settings, Tensor
from clozekit.model.families.family import Family
from clozekit.model.families.modern_bert_names import FULL, LAYER_TYPES, MODERN_BERT_NAMES, SLIDING
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.gated_encoder import GatedEncoder
from clozekit.model.layers.masked_lm_head import HeadBiases
from clozekit.model.layers.prediction_head import PredictionHead, layers_of, predicted_from
from clozekit.model.layers.rotary_positions import RotaryPositions
from clozekit.model.layers.transformer_layers import ACTIVATIONS, document_positions, truncated_normal
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions, hidden_states
from clozekit.model.tasks.generator import MaskedLMOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.recomputed_blocks import through_block
from clozekit.model.tasks.text_classifier import ClassifierOptions, TextClassifier
from clozekit.model.tasks.text_embedder import PooledTokens
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.modern_bert_tokenizer import ModernBertTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

_POOLINGS = ("cls", "mean")


@keras.saving.register_keras_serializable(package="clozekit")
class ModernBertBackbone(Backbone):
    """ModernBERT's encoder: normalised first, without biases, rotary positions, GeGLU, and attention near by in most blocks.

    Gives the hidden states (B, T, hidden_dim) alone. There is no table of positions: max_sequence_length is the most tokens
    that preprocessors give a row. Inputs, the other arguments and errors: see `Backbone`.

    Args:
        dropout: rate inside the feed-forward layers.
        attention_dropout, embedding_dropout: rates of and behind the attention, and of the embeddings; None: as `dropout`.
        layer_types: "full_attention" or "sliding_attention" for each block; None: every third is full, the first one too.
        attention_window: how far a block of sliding attention looks, half of it to each side.
        global_rope_base, local_rope_base: bases of the rotary positions in blocks of full and of sliding attention.
        attention_bias, feedforward_bias, norm_bias: whether these layers have biases.
        head_activation, head_bias: of the dense layer in the heads, which have the norms of the backbone.

    Raises:
        InputError: for another kind of block or not one for each block, heads of an odd number of values, a base that is not
            above 0.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 2.1.

    Example:

        >>> backbone = models.ModernBertBackbone(
        ...     vocabulary_size=50_368, num_layers=4, num_heads=2, hidden_dim=16, intermediate_dim=24
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(backbone(rows).shape)
        (3, 7, 16)
        >>> backbone.block_types()
        ('full_attention', 'sliding_attention', 'sliding_attention', 'full_attention')
    """

    # KerasHub has no such class: all of them stand in config.json.
    setting_names = (
        *Backbone.setting_names,
        "activation",
        "layer_norm_epsilon",
        "attention_dropout",
        "embedding_dropout",
        "layer_types",
        "attention_window",
        "global_rope_base",
        "local_rope_base",
        "attention_bias",
        "feedforward_bias",
        "norm_bias",
        "head_activation",
        "head_bias",
    )
    is_of_keras_hub: ClassVar[bool] = False
    has_position_table: ClassVar[bool] = False

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        max_sequence_length: int = 8192,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        attention_dropout: float | None = None,
        embedding_dropout: float | None = None,
        layer_types: Sequence[str] | None = None,
        attention_window: int = 128,
        global_rope_base: float = 160_000.0,
        local_rope_base: float = 10_000.0,
        attention_bias: bool = False,
        feedforward_bias: bool = False,
        norm_bias: bool = False,
        head_activation: str = "gelu",
        head_bias: bool = False,
        dtype: DType = None,
        embeddings: Self | Literal["own"] | None = None,
        **kwargs: Unpack[ModelOptions],
    ) -> None:
        usual = block_types({"num_layers": num_layers})
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
            "embedding_dropout": embedding_dropout,
            "layer_types": None if layer_types is None or list(layer_types) == usual else list(layer_types),
            "attention_window": attention_window,
            "global_rope_base": global_rope_base,
            "local_rope_base": local_rope_base,
            "attention_bias": attention_bias,
            "feedforward_bias": feedforward_bias,
            "norm_bias": norm_bias,
            "head_activation": head_activation,
            "head_bias": head_bias,
        }
        self.check_settings(settings)
        dtype = policy_of_layers(dtype)
        prefix = self.share_embeddings(embeddings, settings)
        if not isinstance(embeddings, Backbone):
            self.make_token_embedding(vocabulary_size, hidden_dim, dtype, prefix)
            self.embeddings_layer_norm = self._norm(f"{prefix}embeddings_layer_norm", settings, dtype)
        self.embeddings_dropout = Dropout(
            dropout if embedding_dropout is None else embedding_dropout, dtype=dtype, name=f"{prefix}embeddings_dropout"
        )
        self._types = block_types(settings)
        size = hidden_dim // num_heads
        if FULL in self._types:
            self.global_positions = RotaryPositions(size, global_rope_base, name="global_positions")
        if SLIDING in self._types:
            self.local_positions = RotaryPositions(size, local_rope_base, name="local_positions")
        self.transformer_layers = [
            self._block(f"{prefix}transformer_layer_{index}", index, kind, settings, dtype)
            for index, kind in enumerate(self._types)
        ]
        self.final_layer_norm = self._norm(f"{prefix}final_layer_norm", settings, dtype)
        super().__init__(settings, dtype, **kwargs)

    @staticmethod
    def _norm(name: str, settings: Settings, dtype: DType) -> keras.layers.LayerNormalization:
        return keras.layers.LayerNormalization(
            epsilon=settings["layer_norm_epsilon"], center=settings["norm_bias"], dtype=dtype, name=name
        )

    @staticmethod
    def _block(name: str, index: int, kind: str, settings: Settings, dtype: DType) -> GatedEncoder:
        dropout, attention_dropout = settings["dropout"], settings["attention_dropout"]
        return GatedEncoder(
            settings["intermediate_dim"],
            settings["num_heads"],
            dropout=dropout,
            attention_dropout=dropout if attention_dropout is None else attention_dropout,
            activation=ACTIVATIONS[settings["activation"]],
            layer_norm_epsilon=settings["layer_norm_epsilon"],
            # The embeddings come normalised.
            normalizes_inputs=index > 0,
            attention_bias=settings["attention_bias"],
            feedforward_bias=settings["feedforward_bias"],
            norm_bias=settings["norm_bias"],
            kernel_initializer=truncated_normal(),
            # Of each block's two sums (Warner et al. 2024, section 2.2.2; Megatron's).
            output_initializer=keras.initializers.TruncatedNormal(
                stddev=initializer_range() / math.sqrt(2 * settings["num_layers"])
            ),
            attention_window=settings["attention_window"] if kind == SLIDING else None,
            dtype=dtype,
            name=name,
        )

    def check_settings(self, settings: Settings) -> None:
        super().check_settings(settings)
        types, num_layers = settings["layer_types"], settings["num_layers"]
        if types is not None and (len(types) != num_layers or not set(types) <= set(LAYER_TYPES)):
            raise InputError(
                f"layer_types must say {' or '.join(LAYER_TYPES)} for each of the {num_layers} blocks, got {types!r:.200}"
            )
        if settings["hidden_dim"] // settings["num_heads"] % 2:
            raise InputError(
                f"a head with rotary positions must have an even number of values, got {settings['hidden_dim']} and"
                f" {settings['num_heads']} heads; change hidden_dim or num_heads"
            )
        if settings["attention_window"] < 1:
            raise InputError(f"attention_window must be at least 1, got {settings['attention_window']}; raise it")
        for name in ("global_rope_base", "local_rope_base"):
            if not settings[name] > 0:
                raise InputError(f"{name} must be above 0, got {settings[name]}; 10,000 is usual")
        if settings["head_activation"] not in ACTIVATIONS:
            raise InputError(
                f"head_activation must be one of {', '.join(ACTIVATIONS)}, got {settings['head_activation']!r}"
            )

    @classmethod
    def generator_settings(cls, settings: Settings, sizes: Settings) -> Settings:
        # Where it has fewer blocks, they are of the kinds of the first ones.
        types = settings.get("layer_types")
        types = None if types is None else list(types)[: sizes["num_layers"]]
        return {**settings, **sizes, "layer_types": None if types == block_types(sizes) else types}

    def block_types(self) -> tuple[str, ...]:
        """ "full_attention" or "sliding_attention" for each block."""
        return tuple(self._types)

    def embed(
        self, token_ids: Tensor, segment_ids: Tensor | None, positions: Tensor | None, training: bool | None
    ) -> Tensor:
        embedded = self.embeddings_layer_norm(self.token_embedding(token_ids))
        return self.embeddings_dropout(embedded, training=training)

    def encode(
        self,
        token_ids: Tensor,
        padding_mask: Tensor,
        segment_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        if document_ids is not None and positions is None:
            positions = document_positions(document_ids)
        hidden = self.embed(token_ids, segment_ids, positions, training)
        mask, rotations = self.attention_mask(padding_mask, document_ids), {}
        if FULL in self._types:
            rotations[FULL] = self.global_positions(token_ids, positions=positions)
        if SLIDING in self._types:
            rotations[SLIDING] = self.local_positions(token_ids, positions=positions)
        for kind, layer in zip(self._types, self.transformer_layers, strict=True):
            hidden = through_block(layer, hidden, attention_mask=mask, rotation=rotations[kind], training=training)
        return self.final_layer_norm(hidden)

    def prediction_head(self) -> PredictionHead:
        return PredictionHead(
            ACTIVATIONS[self.head_activation],
            self.layer_norm_epsilon,
            use_bias=self.head_bias,
            norm_bias=self.norm_bias,
            kernel_initializer=truncated_normal(),
            dtype=self.dtype_policy,
            name="prediction_head",
        )


def block_types(settings: Settings) -> list[str]:
    """What each block is, of the settings of a backbone: as they say, or every third one full, from the first on."""
    types = settings.get("layer_types")
    return list(types) if types is not None else [SLIDING if i % 3 else FULL for i in range(settings["num_layers"])]


class ModernBertMaskedLMPreprocessor(MaskedLMPreprocessor):
    """ModernBERT's masked-LM preprocessor: `[CLS] a [SEP] b [SEP]`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 2.2.1; it masks 30%.

    Example:

        >>> pieces = ["a", "d", "g", "o", "Ġ", "do", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
        >>> tokenizer = models.ModernBertTokenizer(pieces, ["d o"])
        >>> preprocessor = models.ModernBertMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("a dog", "dog"))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'mask_positions': (2,)}
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = ModernBertTokenizer


class ModernBertTextClassifierPreprocessor(TextClassifierPreprocessor):
    """ModernBERT's text-classifier preprocessor: `[CLS] a [SEP] b [SEP]`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 3.1.

    Example:

        >>> pieces = ["a", "d", "g", "o", "Ġ", "do", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
        >>> tokenizer = models.ModernBertTokenizer(pieces, ["d o"])
        >>> preprocessor = models.ModernBertTextClassifierPreprocessor(tokenizer, sequence_length=10)
        >>> x = preprocessor(("a dog", "dog"))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '[CLS]a dog[SEP]dog[SEP][PAD]'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = ModernBertTokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class ModernBertMaskedLM(MaskedLM):
    """ModernBERT with its masked-LM head, tied to the token embedding.

    The logits have a bias; the layers before them have those that the backbone says. head_activation and head_layer_norm_epsilon are the backbone's where they are not given. Inputs, outputs, the other
    arguments and errors: see `MaskedLM`.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 2.1; the layers are those of Hugging Face's class.

    Example:

        >>> masked_lm = models.ModernBertMaskedLM(models.ModernBertBackbone(1000, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = ModernBertBackbone
    preprocessor_cls = ModernBertMaskedLMPreprocessor
    head_defaults: ClassVar[Settings] = {}

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor | None = None,
        head_activation: str | None = None,
        head_layer_norm_epsilon: float | None = None,
        **kwargs: Unpack[MaskedLMOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        activation = backbone.head_activation if head_activation is None else head_activation
        epsilon = backbone.layer_norm_epsilon if head_layer_norm_epsilon is None else head_layer_norm_epsilon
        super().__init__(backbone, preprocessor, activation, epsilon, **kwargs)

    @classmethod
    def head_biases(cls, backbone: Backbone) -> HeadBiases:
        return {"use_bias": backbone.head_bias, "norm_bias": backbone.norm_bias}


@keras.saving.register_keras_serializable(package="clozekit")
class ModernBertTextClassifier(TextClassifier):
    """ModernBERT with its prediction head and a dense layer on the first token or on the mean of all.

    Inputs, outputs, the other arguments and errors: see `TextClassifier`.

    Args:
        pooling: "cls" (the first token) or "mean" (of the tokens that are no padding): in blocks of sliding attention the
            first token of a long text sees only those near by.

    Raises:
        InputError: for another pooling.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 3.1; the layers are those of Hugging Face's class.

    Example:

        >>> classifier = models.ModernBertTextClassifier(models.ModernBertBackbone(1000, **small), 3, pooling="mean")
        >>> rows = {name: np.ones((2, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(classifier(rows).shape)
        (2, 3)
    """

    backbone_cls = ModernBertBackbone
    preprocessor_cls = ModernBertTextClassifierPreprocessor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        dropout: float = 0.0,
        pooling: str = "cls",
        **kwargs: Unpack[ClassifierOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        if pooling not in _POOLINGS:
            raise InputError(f"pooling must be one of {', '.join(_POOLINGS)}, got {pooling!r:.80}")
        self.pooling = pooling
        self.pool = PooledTokens(pooling, normalize=False, name="pooled_tokens")
        self.prediction_head = backbone.prediction_head()
        super().__init__(backbone, num_classes, preprocessor, activation, dropout, **kwargs)

    def classify(self, output: Outputs, inputs: Rows, training: bool | None) -> Tensor:
        pooled = predicted_from(self.prediction_head, self.pool(hidden_states(output), inputs["padding_mask"]))
        return self.output_dense(self.output_dropout(pooled, training=training))

    def head_config(self) -> Settings:
        return {**super().head_config(), "pooling": self.pooling}

    def head_layers(self) -> dict[str, keras.Layer]:
        return {**layers_of(self.prediction_head), **super().head_layers()}


FAMILY = Family(
    "modern_bert",
    ModernBertTokenizer,
    ModernBertBackbone,
    ModernBertMaskedLM,
    ModernBertTextClassifier,
    ModernBertMaskedLMPreprocessor,
    ModernBertTextClassifierPreprocessor,
    MODERN_BERT_NAMES,
)
