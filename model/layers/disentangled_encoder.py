"""The encoder block with disentangled attention: scores by content and by relative position, each projected by itself."""

import math
from typing import Unpack

import keras
from keras import ops

from clozekit.model.common.tensors import Activation, Settings, Shape, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.relative_scores import RelativeScores, distance_rows
from clozekit.model.layers.transformer_layers import LayerOptions, SelfAttention, TransformerEncoder, project
from clozekit.tokenizers.common.errors import InputError

# Content to position, position to content.
POSITION_ATTENTION = ("c2p|p2c", "c2p", "p2c")


class DisentangledSelfAttention(SelfAttention):
    """Self-attention with scores of content to position and of position to content; the private names are KerasHub's."""

    def __init__(
        self,
        num_heads: int,
        dropout: float,
        kernel_initializer: keras.Initializer,
        bias_initializer: keras.Initializer,
        bucket_size: int | None,
        max_relative_positions: int,
        shares_keys: bool,
        position_attention: str,
        position_dropout: float,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(num_heads, dropout, kernel_initializer, bias_initializer, **kwargs)
        self.position_dropout = position_dropout
        self.shares_keys = shares_keys
        self.position_attention = position_attention
        self.rows = distance_rows(bucket_size, max_relative_positions)

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        hidden_dim = int(input_shape[-1] or 0)
        size = hidden_dim // self.num_heads
        num_scores = 1 + len(self.position_attention.split("|"))
        self._scale = 1.0 / math.sqrt(size * num_scores)
        names = ["query", "key", "value"]
        if not self.shares_keys:
            known = {"c2p": "position_key", "p2c": "position_query"}
            names += [name for kind, name in known.items() if kind in self.position_attention]
        for name in names:
            dense = self._projection("abc,cde->abde", (None, self.num_heads, size), "de", name)
            dense.build(input_shape)
            setattr(self, f"_{name}_dense", dense)
        self._output_dense = self._projection("abc,cd->abd", (None, hidden_dim), "d", "attention_output")
        self._output_dense.build(input_shape)
        self._position_dropout = Dropout(self.position_dropout, dtype=self.dtype_policy, name="position_dropout")
        self.attention_dropout = Dropout(self.dropout, dtype=self.dtype_policy, name="attention_dropout")
        self.built = True

    def projections(self) -> dict[str, keras.layers.EinsumDense]:
        parts = ("query", "key", "value", "output", "position_key", "position_query")
        return {part: getattr(self, f"_{part}_dense") for part in parts if hasattr(self, f"_{part}_dense")}

    def call(  # type: ignore[override]
        self,
        inputs: Tensor,
        relative: Tensor,
        attention_mask: Tensor | None,
        training: bool | None = None,
    ) -> Tensor:
        """What each token takes from the others; relative: (2 span, H), of `RelativeEmbedding`."""
        dense = self.projections()
        query, key, value = (project(dense[part], inputs) for part in ("query", "key", "value"))
        table = ops.expand_dims(self._position_dropout(relative, training=training), 0)

        def projected(kind: str, part: str) -> Tensor | None:
            """(num_heads, 2 span, size); None: there are no such scores."""
            if kind not in self.position_attention:
                return None
            return ops.transpose(project(dense.get(f"position_{part}", dense[part]), table)[0], (1, 0, 2))

        queries = projected("p2c", "query")
        scores = RelativeScores(self.rows, projected("c2p", "key"), None if queries is None else queries * self._scale)
        attended = self.attend(query, key, value, attention_mask, training, relative=scores)
        assert not isinstance(attended, tuple)
        return attended

    def compute_output_shape(self, inputs_shape: Shape, relative_shape: Shape | None = None) -> Shape:
        """The shape of what comes out."""
        return inputs_shape

    def attended_output(self, attended: Tensor) -> Tensor:
        shape = ops.shape(attended)
        joined = ops.reshape(attended, (shape[0], shape[1], attended.shape[2] * attended.shape[3]))
        return project(self._output_dense, joined)


@keras.saving.register_keras_serializable(package="clozekit")
class DisentangledAttentionEncoder(TransformerEncoder):
    """Encoder block with disentangled self-attention, normalised behind each sum; hidden states (B, T, H) both ways.

    Args:
        intermediate_dim, num_heads, dropout, activation, layer_norm_epsilon, kernel_initializer, bias_initializer,
            attention_dropout: as of `TransformerEncoder`; dropout is also that of the relative positions.
        bucket_size: distances up to half of it are told apart, farther ones share positions on a logarithmic scale; None: each
            distance has a position of its own.
        max_relative_positions: where that scale ends, or the distances that are told apart.
        shares_keys: whether relative positions are projected as queries and keys are; False: by layers of their own.
        position_attention: "c2p|p2c", scores of content to position and of position to content; or "c2p" or "p2c" alone.

    Raises:
        InputError: for another position_attention.

    Source: He et al. 2020 (arXiv 2006.03654), section 3.1; the buckets are of its authors' code of version 2.

    Example:

        >>> from clozekit.model.layers import DisentangledAttentionEncoder, RelativeEmbedding
        >>> hidden = np.ones((2, 5, 8), "float32")
        >>> block = DisentangledAttentionEncoder(intermediate_dim=16, num_heads=2, bucket_size=4, max_relative_positions=6)
        >>> tuple(block(hidden, RelativeEmbedding(span=4)(hidden)).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        bucket_size: int | None = 256,
        max_relative_positions: int = 512,
        shares_keys: bool = True,
        position_attention: str = "c2p|p2c",
        dropout: float = 0.0,
        activation: Activation | str = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: keras.Initializer | str = "glorot_uniform",
        bias_initializer: keras.Initializer | str = "zeros",
        attention_dropout: float | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        if position_attention not in POSITION_ATTENTION:
            raise InputError(
                f"position_attention must be one of {', '.join(POSITION_ATTENTION)}, got {position_attention!r:.80}"
            )
        super().__init__(
            intermediate_dim,
            num_heads,
            dropout,
            activation,
            layer_norm_epsilon,
            kernel_initializer,
            bias_initializer,
            attention_dropout=attention_dropout,
            **kwargs,
        )
        self.bucket_size = bucket_size
        self.max_relative_positions = max_relative_positions
        self.shares_keys = shares_keys
        self.position_attention = position_attention

    def _attention(self) -> DisentangledSelfAttention:
        return DisentangledSelfAttention(
            self.num_heads,
            self.attention_dropout,
            self.kernel_initializer,
            self.bias_initializer,
            self.bucket_size,
            self.max_relative_positions,
            self.shares_keys,
            self.position_attention,
            self.dropout,
            dtype=self.dtype_policy,
            name="self_attention_layer",
        )

    def call(  # type: ignore[override]
        self,
        inputs: Tensor,
        relative: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """inputs: (B, T, H); relative: (2 span, H), of `RelativeEmbedding`; attention_mask: bool (B, 1, 1, T) or (B, 1, T, T), True
        where a query may look, or int32 (B, T), the document of each token."""
        attended = self._self_attention_layer(inputs, relative, attention_mask, training=training)
        return self.behind_attention(inputs, attended, training)

    def get_config(self) -> Settings:
        settings = {name: value for name, value in super().get_config().items() if name != "normalize_first"}
        return {
            **settings,
            "bucket_size": self.bucket_size,
            "max_relative_positions": self.max_relative_positions,
            "shares_keys": self.shares_keys,
            "position_attention": self.position_attention,
        }

    # Keras asks for these names where a layer takes two tensors.
    def build(self, inputs_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        super().build(inputs_shape)

    def compute_output_shape(self, inputs_shape: Shape, relative_shape: Shape | None = None) -> Shape:
        """The shape of what comes out."""
        return inputs_shape
