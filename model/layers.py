"""Layers that the families share: position embedding, encoder block, masked-LM head, and the attention mask.

Class and attribute names are KerasHub's, because Keras names weights in .h5 files after them; the code runs on any
Keras backend.
"""

from typing import Any

import keras
from keras import ops


def attention_mask(padding_mask: Any, document_ids: Any = None) -> Any:
    """bool mask, True where a query may look: (B, 1, T) by padding, or (B, T, T) within each packed document.

    padding_mask: (B, T), 1 = real. document_ids: (B, T) integers, 1.. per packed document and 0 for padding.
    """
    if document_ids is None:
        return ops.expand_dims(ops.cast(padding_mask, "bool"), axis=1)
    queries, keys = ops.expand_dims(document_ids, axis=2), ops.expand_dims(document_ids, axis=1)
    return ops.logical_and(ops.equal(queries, keys), ops.greater(keys, 0))


class PositionEmbedding(keras.layers.Layer):
    """Learned embedding of positions: the row of the table for each position, shape (T, H) or (B, T, H)."""

    def __init__(self, sequence_length: int, initializer: Any = "glorot_uniform", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.sequence_length, input_shape[-1])
        self.position_embeddings = self.add_weight(name="embeddings", shape=shape, initializer=self.initializer)
        self.built = True

    def call(self, inputs: Any, positions: Any = None) -> Any:
        """inputs: (B, T, H), read for its shape alone; positions: (B, T), or None for 0, 1, ... T-1."""
        table = ops.cast(self.position_embeddings, self.compute_dtype)
        if positions is None:
            return ops.broadcast_to(table[: ops.shape(inputs)[1]], ops.shape(inputs))
        return ops.take(table, positions, axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


class TransformerEncoder(keras.layers.Layer):
    """Encoder block of Vaswani et al. 2017 (arXiv 1706.03762, section 3.1), normalising after each residual sum."""

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        activation: Any = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        hidden_dim = int(input_shape[-1] or 0)

        def initializer() -> Any:
            # A copy each: one seeded initializer used twice would give equal weights.
            return keras.initializers.get(
                self.kernel_initializer.__class__.from_config(self.kernel_initializer.get_config())
            )

        self._self_attention_layer = keras.layers.MultiHeadAttention(
            num_heads=self.num_heads,
            key_dim=hidden_dim // self.num_heads,
            dropout=self.dropout,
            kernel_initializer=initializer(),
            dtype=self.dtype_policy,
            name="self_attention_layer",
        )
        self._self_attention_layer.build(input_shape, input_shape)
        self._feedforward_intermediate_dense = keras.layers.Dense(
            self.intermediate_dim,
            activation=self.activation,
            kernel_initializer=initializer(),
            dtype=self.dtype_policy,
            name="feedforward_intermediate_dense",
        )
        self._feedforward_intermediate_dense.build(input_shape)
        self._feedforward_output_dense = keras.layers.Dense(
            hidden_dim, kernel_initializer=initializer(), dtype=self.dtype_policy, name="feedforward_output_dense"
        )
        self._feedforward_output_dense.build((*input_shape[:-1], self.intermediate_dim))
        for part in ("self_attention", "feedforward"):
            norm = keras.layers.LayerNormalization(
                epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=f"{part}_layer_norm"
            )
            norm.build(input_shape)
            setattr(self, f"_{part}_layer_norm", norm)
            dropout = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy, name=f"{part}_dropout")
            setattr(self, f"_{part}_dropout", dropout)
        self.built = True

    def call(self, inputs: Any, attention_mask: Any = None, training: bool | None = None) -> Any:
        """inputs: (B, T, H); attention_mask: bool, (B, 1, T) or (B, T, T), True where a query may look."""
        attended = self._self_attention_layer(inputs, inputs, attention_mask=attention_mask, training=training)
        hidden = self._self_attention_layer_norm(inputs + self._self_attention_dropout(attended, training=training))
        inner = self._feedforward_output_dense(self._feedforward_intermediate_dense(hidden))
        return self._feedforward_layer_norm(hidden + self._feedforward_dropout(inner, training=training))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


class MaskedLMHead(keras.layers.Layer):
    """Logits of the masked positions alone: gather, dense, norm, then the token embedding in reverse plus a bias.

    The gather comes first, so the projection onto the vocabulary is paid for a sixth of the positions, not for all.
    """

    def __init__(
        self,
        token_embedding: Any,
        intermediate_activation: Any = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.token_embedding = token_embedding
        self.intermediate_activation = keras.activations.get(intermediate_activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, inputs_shape: tuple[int | None, ...], mask_positions_shape: Any = None) -> None:
        size = self.token_embedding.output_dim
        self._intermediate_dense = keras.layers.Dense(
            size,
            activation=self.intermediate_activation,
            kernel_initializer=self.kernel_initializer,
            dtype=self.dtype_policy,
            name="intermediate_dense",
        )
        self._intermediate_dense.build(inputs_shape)
        self._intermediate_layer_norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name="intermediate_layer_norm"
        )
        self._intermediate_layer_norm.build((*inputs_shape[:-1], size))
        self._output_bias = self.add_weight(
            name="output_bias", shape=(self.token_embedding.input_dim,), initializer="zeros"
        )
        self.built = True

    def call(self, inputs: Any, mask_positions: Any) -> Any:
        """inputs: (B, T, H); mask_positions: integers (B, M). Returns logits (B, M, vocabulary_size)."""
        gathered = gather_positions(inputs, mask_positions)
        hidden = self._intermediate_layer_norm(self._intermediate_dense(gathered))
        logits = self.token_embedding(hidden, reverse=True)
        return logits + ops.cast(self._output_bias, logits.dtype)

    def compute_output_shape(self, inputs_shape: Any, mask_positions_shape: Any) -> tuple[int | None, ...]:
        return (*mask_positions_shape, self.token_embedding.input_dim)


def gather_positions(inputs: Any, positions: Any) -> Any:
    """(B, T, H) and integers (B, M) -> (B, M, H), by one gather from the flattened batch.

    `ops.take_along_axis` would build (B, M, H) indices; it was seven times slower on CPU.
    """
    length, hidden_dim = ops.shape(inputs)[1], inputs.shape[-1]
    positions = ops.cast(positions, "int32")
    row_starts = ops.arange(ops.shape(inputs)[0], dtype="int32")[:, None] * length
    return ops.take(ops.reshape(inputs, (-1, hidden_dim)), positions + row_starts, axis=0)
