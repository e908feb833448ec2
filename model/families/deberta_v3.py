"""DeBERTa V3 (He et al. 2021, arXiv 2111.09543): backbone, tasks, preprocessors."""

from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.tensors import Activation, DType, Settings, Tensor
from clozekit.model.families.deberta_v3_names import DEBERTA_V3_NAMES
from clozekit.model.families.family import Family
from clozekit.model.layers.disentangled_encoder import POSITION_ATTENTION, DisentangledAttentionEncoder
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.relative_embedding import RelativeEmbedding
from clozekit.model.layers.transformer_layers import ACTIVATIONS, truncated_normal
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.recomputed_blocks import through_block
from clozekit.model.tasks.text_classifier import ClassifierOptions, FirstTokenClassifier
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.deberta_v3_tokenizer import DebertaV3Tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class DebertaV3Backbone(Backbone):
    """DeBERTa V3's encoder: attention by content and by relative position, no absolute positions, no segments.

    Gives the hidden states (B, T, hidden_dim) alone. There is no table of absolute positions: max_sequence_length is the most
    tokens that preprocessors give a row, and rows may be longer. Inputs, the other arguments and errors: see `Backbone`.

    Args:
        bucket_size: distances up to half of it are told apart, farther ones share relative positions on a logarithmic scale;
            None: each distance has a position of its own.
        max_relative_positions: where that scale ends, or how far distances are told apart; None: max_sequence_length.
        shares_position_keys: whether relative positions are projected as queries and keys are; False: by layers of their own.
        position_attention: "c2p|p2c", scores of content to position and of position to content; "c2p" or "p2c": one alone.
        normalizes_positions: whether there is a normalisation of the relative positions.
        pooler_activation: of the first dense layer in classifiers.

    Raises:
        InputError: for another position_attention, a bucket_size below 2, max_relative_positions below 1, or one within half of
            bucket_size where rows are longer than that.

    Source: He et al. 2021 (arXiv 2111.09543), section 3; the attention is of He et al. 2020 (arXiv 2006.03654), section 3.1,
        with the buckets of the authors' code.

    Example:

        >>> backbone = models.DebertaV3Backbone(
        ...     vocabulary_size=128_100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, bucket_size=8
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(backbone(rows).shape)
        (3, 7, 16)
    """

    setting_names = (*Backbone.setting_names, "bucket_size")
    own_setting_defaults: ClassVar[Settings] = {
        "activation": "gelu",
        "layer_norm_epsilon": 1e-7,
        "attention_dropout": None,
        "max_relative_positions": None,
        "shares_position_keys": True,
        "position_attention": "c2p|p2c",
        "normalizes_positions": True,
        "pooler_activation": "gelu",
    }
    has_position_table: ClassVar[bool] = False
    detects_beside_first_token: ClassVar[bool] = True

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        bucket_size: int | None = 256,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-7,
        attention_dropout: float | None = None,
        max_relative_positions: int | None = None,
        shares_position_keys: bool = True,
        position_attention: str = "c2p|p2c",
        normalizes_positions: bool = True,
        pooler_activation: str = "gelu",
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
            "bucket_size": bucket_size,
            "activation": activation,
            "layer_norm_epsilon": layer_norm_epsilon,
            "attention_dropout": attention_dropout,
            "max_relative_positions": max_relative_positions,
            "shares_position_keys": shares_position_keys,
            "position_attention": position_attention,
            "normalizes_positions": normalizes_positions,
            "pooler_activation": pooler_activation,
        }
        self.check_settings(settings)
        dtype = policy_of_layers(dtype)
        prefix = self.share_embeddings(embeddings, settings)
        if not isinstance(embeddings, Backbone):
            self.make_token_embedding(vocabulary_size, hidden_dim, dtype, prefix)
            self.embeddings_layer_norm = keras.layers.LayerNormalization(
                epsilon=layer_norm_epsilon, dtype=dtype, name=f"{prefix}embeddings_layer_norm"
            )
        self.embeddings_dropout = Dropout(dropout, dtype=dtype, name=f"{prefix}embeddings_dropout")
        self.relative_embeddings = RelativeEmbedding(
            _farthest(settings) if bucket_size is None else bucket_size,
            layer_norm_epsilon if normalizes_positions else None,
            truncated_normal(),
            dtype=dtype,
            name=f"{prefix}rel_embedding",
        )
        self.transformer_layers = [
            self.encoder_layer(f"{prefix}disentangled_attention_encoder_layer_{index}", settings, dtype)
            for index in range(num_layers)
        ]
        super().__init__(settings, dtype, **kwargs)
        if normalizes_positions:
            self.relative_layer_norm = self.relative_embeddings.layer_norm

    def encoder_layer(self, name: str, settings: Settings, dtype: DType) -> DisentangledAttentionEncoder:
        return DisentangledAttentionEncoder(
            settings["intermediate_dim"],
            settings["num_heads"],
            bucket_size=settings["bucket_size"],
            max_relative_positions=_farthest(settings),
            shares_keys=settings["shares_position_keys"],
            position_attention=settings["position_attention"],
            dropout=settings["dropout"],
            attention_dropout=settings["attention_dropout"],
            activation=ACTIVATIONS[settings["activation"]],
            layer_norm_epsilon=settings["layer_norm_epsilon"],
            kernel_initializer=truncated_normal(),
            dtype=dtype,
            name=name,
        )

    def check_settings(self, settings: Settings) -> None:
        super().check_settings(settings)
        kinds, buckets, longest = (
            settings["position_attention"],
            settings["bucket_size"],
            settings["max_sequence_length"],
        )
        if kinds not in POSITION_ATTENTION:
            raise InputError(f"position_attention must be one of {', '.join(POSITION_ATTENTION)}, got {kinds!r:.80}")
        if settings["pooler_activation"] not in ACTIVATIONS:
            raise InputError(
                f"pooler_activation must be one of {', '.join(ACTIVATIONS)}, got {settings['pooler_activation']!r}"
            )
        farthest = _farthest(settings)
        if farthest < 1:
            raise InputError(f"max_relative_positions must be at least 1, got {farthest}; raise it or leave it out")
        if buckets is None:
            return
        if buckets < 2:
            raise InputError(f"bucket_size must be at least 2, got {buckets}; raise it, or None for no buckets")
        if farthest - 1 <= buckets // 2 < longest - 1:
            raise InputError(
                f"max_relative_positions must be above {buckets // 2 + 1}, half of bucket_size and one, where rows have up to"
                f" {longest} tokens, got {farthest}; raise it or lower bucket_size"
            )

    def encode(
        self,
        token_ids: Tensor,
        padding_mask: Tensor,
        segment_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        # Documents of a packed row are whole runs of tokens: distances in the row are those in the document.
        hidden = self.embed(token_ids, segment_ids, positions, training)
        relative = self.relative_embeddings(hidden)
        mask = self.attention_mask(padding_mask, document_ids)
        for layer in self.transformer_layers:
            hidden = through_block(layer, hidden, relative, attention_mask=mask, training=training)
        return hidden

    def embed(
        self, token_ids: Tensor, segment_ids: Tensor | None, positions: Tensor | None, training: bool | None
    ) -> Tensor:
        embedded = self.embeddings_layer_norm(self.token_embedding(token_ids))
        return self.embeddings_dropout(embedded, training=training)


def _farthest(settings: Settings) -> int:
    given = settings["max_relative_positions"]
    return int(settings["max_sequence_length"] if given is None else given)


class DebertaV3MaskedLMPreprocessor(MaskedLMPreprocessor):
    """DeBERTa V3's masked-LM preprocessor: `[CLS] a [SEP] b [SEP]`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: He et al. 2021 (arXiv 2111.09543), section 2.2.

    Example:

        >>> deberta_v3 = models.DebertaV3Tokenizer.from_preset("tiny/deberta_v3")
        >>> preprocessor = models.DebertaV3MaskedLMPreprocessor(deberta_v3, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("a dog", "a fox"))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'mask_positions': (2,)}
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = DebertaV3Tokenizer


class DebertaV3TextClassifierPreprocessor(TextClassifierPreprocessor):
    """DeBERTa V3's text-classifier preprocessor: `[CLS] a [SEP] b [SEP]`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: He et al. 2021 (arXiv 2111.09543), section 4.

    Example:

        >>> deberta_v3 = models.DebertaV3Tokenizer.from_preset("tiny/deberta_v3")
        >>> preprocessor = models.DebertaV3TextClassifierPreprocessor(deberta_v3, sequence_length=10)
        >>> x = preprocessor(("a dog", "a fox"))
        >>> deberta_v3.detokenize(x["token_ids"].numpy())
        '[CLS] a dog[SEP] a fox[SEP][PAD]'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = DebertaV3Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class DebertaV3MaskedLM(MaskedLM):
    """DeBERTa V3 with its masked-LM head, tied to the token embedding.

    Inputs, outputs, arguments and errors: see `MaskedLM`. The enhanced decoder, which pretraining of the paper has and no
    published checkpoint of V3, is left out.

    Source: He et al. 2020 (arXiv 2006.03654), section 3.2; the layers are those of Hugging Face's class.

    Example:

        >>> masked_lm = models.DebertaV3MaskedLM(models.DebertaV3Backbone(1000, bucket_size=8, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = DebertaV3Backbone
    preprocessor_cls = DebertaV3MaskedLMPreprocessor
    # KerasHub's head keeps 1e-5 under a body that has 1e-7.
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="clozekit")
class DebertaV3TextClassifier(FirstTokenClassifier):
    """DeBERTa V3 with dropout, a dense layer, dropout and a dense layer on the first token.

    Inputs, outputs, the other arguments and errors: see `TextClassifier`.

    Args:
        dropout: rate before the first dense layer, as KerasHub has it.
        hidden_dim: values of the first dense layer; None: the backbone's.
        output_dropout: rate before the last layer; None: the backbone's dropout.

    Source: He et al. 2021 (arXiv 2111.09543), section 4; the layers are those of Hugging Face's class, its ContextPooler first.

    Example:

        >>> classifier = models.DebertaV3TextClassifier(models.DebertaV3Backbone(1000, bucket_size=8, **small), num_classes=3)
        >>> classifier.output_shape
        (None, 3)
    """

    backbone_cls = DebertaV3Backbone
    preprocessor_cls = DebertaV3TextClassifierPreprocessor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        hidden_dim: int | None = None,
        dropout: float = 0.0,
        output_dropout: float | None = None,
        **kwargs: Unpack[ClassifierOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        self.pooled_activation = backbone.pooler_activation
        self.output_rate = output_dropout
        super().__init__(backbone, num_classes, preprocessor, activation, hidden_dim, dropout, **kwargs)

    def rate_before_output(self, backbone: Backbone) -> float:
        return float(backbone.dropout if self.output_rate is None else self.output_rate)

    def head_settings(self) -> Settings:
        own = {} if self.output_rate is None else {"output_dropout": self.output_rate}
        return {**super().head_settings(), **own}


FAMILY = Family(
    "deberta_v3",
    DebertaV3Tokenizer,
    DebertaV3Backbone,
    DebertaV3MaskedLM,
    DebertaV3TextClassifier,
    DebertaV3MaskedLMPreprocessor,
    DebertaV3TextClassifierPreprocessor,
    DEBERTA_V3_NAMES,
)
