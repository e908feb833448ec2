"""Layers that the families share: embeddings, self-attention, the encoder block, and the attention mask.

Class and attribute names are KerasHub's, because Keras names weights in .h5 files after them; the code runs on any
Keras backend.
"""

import math
from typing import NamedTuple, TypedDict, Unpack

import keras
import numpy as np
from keras import ops

from clozekit.model.common.initializer_range import initializer_range
from clozekit.model.common.long_rows import LONGEST_IN_FULL
from clozekit.model.common.tensors import Activation, DType, Settings, Shape, Tensor
from clozekit.model.layers.chunked_attention import FORBIDDEN, Dropped, chunked_attention
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.relative_scores import RelativeScores


class LayerOptions(TypedDict, total=False):
    """What every layer of Keras takes besides its own arguments."""

    name: str
    dtype: DType
    trainable: bool


def fresh(initializer: keras.Initializer) -> keras.Initializer:
    """A copy of an initializer: one seeded initializer used twice would give equal weights."""
    return initializer.__class__.from_config(initializer.get_config())


def truncated_normal() -> keras.Initializer:
    """Initial kernels and embeddings of all families (Devlin et al. 2018; Lan et al. 2019): stddev 0.02, or what a run says."""
    return keras.initializers.TruncatedNormal(stddev=initializer_range())


@keras.saving.register_keras_serializable(package="clozekit")
def gelu_approximate(x: Tensor) -> Tensor:
    """GELU by tanh, as in the original code of BERT and ALBERT."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="clozekit")
def gelu_exact(x: Tensor) -> Tensor:
    """GELU by the error function (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
    return keras.activations.gelu(x, approximate=False)


# The activations that a model may have, by the names its settings use.
ACTIVATIONS = {
    "gelu": gelu_exact,
    "gelu_approximate": gelu_approximate,
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
    "tanh": keras.activations.tanh,
}


class AttentionMask(keras.layers.Layer):
    """What a query may look at, as the blocks take it; of all of them, so that it grows with the length of the rows alone.

    By padding a bool mask (B, 1, 1, T), True for the keys that are real. In packed rows the document_ids themselves, int32
    (B, T): 1.. per document, and 0 for padding, which looks at itself alone: a query that may look nowhere gives NaN on some
    backends.
    """

    def call(self, padding_mask: Tensor, document_ids: Tensor | None = None) -> Tensor:
        if document_ids is not None:
            return ops.cast(document_ids, "int32")
        # Not `[:, None, None, :]`: LiteRT has no such slices of rows of any length.
        return ops.expand_dims(ops.expand_dims(ops.cast(padding_mask, "bool"), 1), 1)


def pair_mask(attention_mask: Tensor | None, half_window: int | None, length: int | Tensor) -> Tensor | None:
    """bool (B or 1, 1, T or 1, T), True where a query may look, of a mask of `AttentionMask` or of such a one; None: everywhere.

    half_window: how far a query looks to each side, at itself in any case; None: to the ends of the row.
    """
    if attention_mask is not None and len(attention_mask.shape) == 2:
        # Not by indexing: LiteRT has no such slices of rows of any length.
        marks = ops.expand_dims(attention_mask, 1)
        attention_mask = ops.equal(ops.expand_dims(marks, -1), ops.expand_dims(marks, 2))
    if half_window is None:
        return attention_mask
    places = ops.arange(length, dtype="int32")
    distances = ops.abs(ops.expand_dims(places, 1) - ops.expand_dims(places, 0))
    near, own = (ops.expand_dims(ops.expand_dims(mask, 0), 0) for mask in (distances <= half_window, distances == 0))
    return near if attention_mask is None else ops.logical_or(ops.logical_and(attention_mask, near), own)


class FirstToken(keras.layers.Layer):
    """The hidden state of each row's first token: (B, T, H) -> (B, H)."""

    def call(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0, :]


def document_positions(document_ids: Tensor) -> Tensor:
    """int32 (B, T): the position of each token within its packed document, from document_ids (B, T): whole runs of one number."""
    shape = ops.shape(document_ids)
    size = shape[0] * shape[1]
    same = ops.equal(document_ids[:, 1:], document_ids[:, :-1])
    begins = 1 - ops.cast(ops.reshape(ops.pad(same, [[0, 0], [1, 0]]), (-1,)), "int32")
    # Which run of all rows together a token is in, and where that begins.
    runs, places = ops.cumsum(begins) - 1, ops.arange(size, dtype="int32")
    first = ops.segment_sum(begins * places, runs, num_segments=size)
    return ops.reshape(places - ops.take(first, runs), shape)


@keras.saving.register_keras_serializable(package="clozekit")
class PositionEmbedding(keras.layers.Layer):
    """Learned embedding of positions: the row of the table for each position of (B, T, H) or (..., T, H), of the same shape.

    Args:
        sequence_length: rows of the table, the most positions there are.
        initializer: of the table.

    Raises:
        ValueError: for a sequence that is longer than the table.

    Example:

        >>> from clozekit.model.layers import PositionEmbedding
        >>> tuple(PositionEmbedding(sequence_length=10)(np.ones((2, 5, 4), "float32")).shape)
        (2, 5, 4)
    """

    def __init__(
        self,
        sequence_length: int,
        initializer: keras.Initializer | str = "glorot_uniform",
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        shape = (self.sequence_length, input_shape[-1])
        self.position_embeddings = self.add_weight(name="embeddings", shape=shape, initializer=self.initializer)
        self.built = True

    def call(self, inputs: Tensor, start_index: int = 0, positions: Tensor | None = None) -> Tensor:
        """inputs: (B, T, H), read for its shape alone; positions: (B, T), or None for start_index, start_index + 1, ..."""
        table = ops.cast(self.position_embeddings, self.compute_dtype)
        length = inputs.shape[-2]
        if positions is not None:
            return ops.take(table, positions, axis=0)
        if length is not None and start_index + length > self.sequence_length:
            raise ValueError(
                f"a sequence must be at most {self.sequence_length} tokens for this model (max_sequence_length), got"
                f" {length}; shorten it or build the backbone with a larger max_sequence_length"
            )
        return ops.broadcast_to(table[start_index : start_index + ops.shape(inputs)[-2]], ops.shape(inputs))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return input_shape

    def get_config(self) -> Settings:
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "sequence_length": self.sequence_length, "initializer": initializer}


@keras.saving.register_keras_serializable(package="clozekit")
class TokenAndPositionEmbedding(keras.layers.Layer):
    """Sum of token and position embedding, one layer as KerasHub's RoBERTa keeps them: (B, T) -> (B, T, embedding_dim).

    Args:
        vocabulary_size, sequence_length, embedding_dim: rows of the two tables, and values of a row.
        tie_weights: whether the token table used in reverse is the same table.
        embeddings_initializer: of both tables.
        mask_zero: whether id 0 is padding, which Keras's mask then says.

    Example:

        >>> from clozekit.model.layers import TokenAndPositionEmbedding
        >>> layer = TokenAndPositionEmbedding(vocabulary_size=30, sequence_length=10, embedding_dim=4)
        >>> tuple(layer(np.ones((2, 5), "int32")).shape)
        (2, 5, 4)
    """

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        embedding_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: keras.Initializer | str = "uniform",
        mask_zero: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = int(vocabulary_size)
        self.sequence_length = int(sequence_length)
        self.embedding_dim = int(embedding_dim)
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.token_embedding = keras.layers.ReversibleEmbedding(
            self.vocabulary_size,
            self.embedding_dim,
            tie_weights=tie_weights,
            embeddings_initializer=self.embeddings_initializer,
            mask_zero=mask_zero,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            self.sequence_length,
            initializer=fresh(self.embeddings_initializer),
            dtype=self.dtype_policy,
            name="position_embedding",
        )
        self.supports_masking = self.token_embedding.supports_masking

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        self.token_embedding.build(input_shape)
        self.position_embedding.build((*input_shape, self.token_embedding.output_dim))
        self.built = True

    def call(self, inputs: Tensor, start_index: int = 0, positions: Tensor | None = None) -> Tensor:
        """inputs: integers (B, T); positions: (B, T), or None for start_index, start_index + 1, ..."""
        tokens = self.token_embedding(inputs)
        return tokens + self.position_embedding(tokens, start_index=start_index, positions=positions)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Where ids are real, if 0 is padding."""
        return ops.not_equal(inputs, 0) if self.token_embedding.mask_zero else mask

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return (*input_shape, self.token_embedding.output_dim)

    def get_config(self) -> Settings:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "sequence_length": self.sequence_length,
            "embedding_dim": self.embedding_dim,
            "tie_weights": self.token_embedding.tie_weights,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "mask_zero": self.token_embedding.mask_zero,
        }


def project(dense: keras.layers.EinsumDense, inputs: Tensor) -> Tensor:
    """What an EinsumDense makes of (B, T, ...), as one product of two matrices.

    TensorFlow makes B products of the einsum, which took twice as long on a CPU (BERT of 4 x 256, 16 rows of 128).
    """
    if dense.quantization_mode is not None:
        return dense(inputs)
    num_summed = len(inputs.shape) - 2
    width = math.prod(dense.kernel.shape[:num_summed])
    output_shape = tuple(dense.kernel.shape[num_summed:])
    rows, length = ops.shape(inputs)[:2]
    projected = ops.matmul(ops.reshape(inputs, (-1, width)), ops.reshape(dense.kernel, (width, -1)))
    if dense.bias is not None:
        projected = projected + ops.reshape(dense.bias, (-1,))
    return ops.reshape(projected, (rows, length, *output_shape))


class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), by the backend's fused kernel where it has one.

    Keras's own MultiHeadAttention gives the fused path up whenever a dropout rate is set, at inference too.
    """

    def __init__(
        self,
        num_heads: int,
        dropout: float,
        kernel_initializer: keras.Initializer,
        bias_initializer: keras.Initializer,
        use_bias: bool = True,
        output_initializer: keras.Initializer | None = None,
        half_window: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        # How far a query looks to each side; None: to the ends of the row.
        self.half_window = half_window
        self.dropout = dropout
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = bias_initializer
        self.use_bias = use_bias
        # Of the last projection, where it is another.
        self.output_initializer = output_initializer

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        hidden_dim = int(input_shape[-1] or 0)
        size = hidden_dim // self.num_heads
        # Rounded as Keras's attention rounds it under every dtype, so that float64 agrees with it in all digits.
        self._scale = float(np.float32(1.0 / math.sqrt(size)))
        for name in ("query", "key", "value"):
            setattr(self, f"{name}_dense", self._projection("btc,cnd->btnd", (None, self.num_heads, size), "nd", name))
            getattr(self, f"{name}_dense").build(input_shape)
        self.output_dense = self._projection(
            "btnd,ndc->btc", (None, hidden_dim), "c", "attention_output", self.output_initializer
        )
        self.output_dense.build((*input_shape[:-1], self.num_heads, size))
        self.attention_dropout = Dropout(self.dropout, dtype=self.dtype_policy, name="attention_dropout")
        self.built = True

    def _projection(
        self,
        equation: str,
        output_shape: Shape,
        bias_axes: str,
        name: str,
        initializer: keras.Initializer | None = None,
    ) -> keras.layers.EinsumDense:
        return keras.layers.EinsumDense(
            equation,
            output_shape=output_shape,
            bias_axes=bias_axes if self.use_bias else None,
            kernel_initializer=fresh(self.kernel_initializer if initializer is None else initializer),
            bias_initializer=fresh(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(
        self,
        inputs: Tensor,
        attention_mask: Tensor | None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """What each token takes from the others, and, asked for, the probabilities (B, num_heads, T, T) that weigh them."""
        query, key, value = (project(dense, inputs) for dense in (self.query_dense, self.key_dense, self.value_dense))
        return self.attend(query, key, value, attention_mask, training, return_attention_scores)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        training: bool | None,
        return_attention_scores: bool = False,
        relative: RelativeScores | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """`call` behind the first projections; query, key, value: (B, T, num_heads, size)."""
        if self._goes_in_chunks(query, attention_mask) and not return_attention_scores:
            return self.attended_output(self._in_chunks(query, key, value, attention_mask, training, relative))
        attention_mask = pair_mask(attention_mask, self.half_window, ops.shape(query)[1])
        is_plain = not return_attention_scores and not (training and self.dropout > 0) and relative is None
        if is_plain and keras.backend.backend() != "tensorflow":
            attended = ops.dot_product_attention(query, key, value, mask=attention_mask, scale=self._scale)
        else:
            # TensorFlow has no fused kernel, and Keras's formula passes over the scores three times more.
            attended, probabilities = self._in_full(query, key, value, attention_mask, training, relative)
            if return_attention_scores:
                return self.attended_output(attended), probabilities
        return self.attended_output(attended)

    def attended_output(self, attended: Tensor) -> Tensor:
        """(B, T, num_heads, size) -> (B, T, hidden_dim), by the last projection."""
        return project(self.output_dense, attended)

    def projections(self) -> dict[str, keras.layers.EinsumDense]:
        """The layers with weights by their part. A method: Keras would save the weights under the name of a property."""
        return {part: getattr(self, f"{part}_dense") for part in ("query", "key", "value", "output")}

    def _goes_in_chunks(self, query: Tensor, attention_mask: Tensor | None) -> bool:
        """Whether the rows are long and what may be looked at is known without a mask of T x T values."""
        is_short_mask = attention_mask is None or len(attention_mask.shape) == 2 or attention_mask.shape[2] == 1
        is_long = query.shape[1] is not None and query.shape[1] > LONGEST_IN_FULL
        return keras.backend.backend() == "tensorflow" and is_long and is_short_mask

    def _in_chunks(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        training: bool | None,
        relative: RelativeScores | None,
    ) -> Tensor:
        """`_in_full` in memory that grows with the length of the rows and not with its square."""
        is_of_documents = attention_mask is not None and len(attention_mask.shape) == 2
        real = None if attention_mask is None or is_of_documents else attention_mask[:, 0, 0, :]
        dropped = None
        if training and self.dropout > 0:
            dropped = Dropped(self.dropout, self.attention_dropout.seed_generator.next())
        query, key, value = (ops.swapaxes(one, 1, 2) for one in (query * self._scale, key, value))
        documents = attention_mask if is_of_documents else None
        attended = chunked_attention(query, key, value, real, documents, self.half_window, dropped, relative=relative)
        return ops.swapaxes(attended, 1, 2)

    def _in_full(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        training: bool | None,
        relative: RelativeScores | None,
    ) -> tuple[Tensor, Tensor]:
        """The formula in full, with softmax in float32 at least: no fused kernel drops probabilities the same way."""
        precise = keras.backend.result_type(self.compute_dtype, "float32")
        scores = ops.cast(ops.einsum("btnd,bsnd->bnts", query * self._scale, key), precise)
        if relative is not None:
            of_heads = (ops.swapaxes(one, 1, 2) for one in (query * self._scale, key))
            scores = scores + ops.cast(relative.of(*of_heads), precise)
        if mask is not None:
            scores = scores + ops.cast(ops.where(mask, 0.0, FORBIDDEN), precise)
        probabilities = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        dropped = self.attention_dropout(probabilities, training=training)
        return ops.einsum("bnts,bsnd->btnd", dropped, value), probabilities

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return input_shape


def _merged(padding_mask: Tensor | None, attention_mask: Tensor | None) -> Tensor | None:
    """One bool mask of four axes for both, or None for neither."""
    masks = [] if padding_mask is None else [ops.cast(padding_mask, "bool")[:, None, None, :]]
    if padding_mask is None and attention_mask is not None and len(attention_mask.shape) == 2:
        return attention_mask
    if attention_mask is not None:
        pairs = pair_mask(attention_mask, None, 0) if len(attention_mask.shape) == 2 else attention_mask
        four_axes = pairs is not None and len(pairs.shape) == 4
        masks.append(pairs if four_axes else ops.cast(attention_mask, "bool")[:, None, :, :])
    if not masks:
        return None
    return masks[0] if len(masks) == 1 else ops.logical_and(*masks)


class EncoderParts(NamedTuple):
    """The layers of a built encoder block in the order in which they are applied."""

    attention: SelfAttention
    attention_norm: keras.layers.LayerNormalization
    inner: keras.layers.Dense
    outer: keras.layers.Dense
    norm: keras.layers.LayerNormalization


@keras.saving.register_keras_serializable(package="clozekit")
class TransformerEncoder(keras.layers.Layer):
    """Encoder block: self-attention, then two dense layers, each with a residual sum and a normalisation; (B, T, H) both ways.

    Args:
        intermediate_dim, num_heads: values inside the dense layers, and attention heads.
        dropout: rate behind both parts and on the attention's probabilities.
        activation: between the dense layers.
        layer_norm_epsilon: of the normalisations.
        kernel_initializer, bias_initializer: of all kernels and biases.
        normalize_first: normalise before each part and not after its sum.
        attention_dropout: of the attention's probabilities where that is not `dropout`.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.1.

    Example:

        >>> from clozekit.model.layers import TransformerEncoder
        >>> block = TransformerEncoder(intermediate_dim=16, num_heads=2)
        >>> padding_mask = np.array([[1, 1, 1, 0, 0]] * 2)
        >>> tuple(block(np.ones((2, 5, 8), "float32"), padding_mask=padding_mask).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        activation: Activation | str = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: keras.Initializer | str = "glorot_uniform",
        bias_initializer: keras.Initializer | str = "zeros",
        normalize_first: bool = False,
        attention_dropout: float | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.dropout = dropout
        # Of the attention's probabilities; None is the rate of the rest.
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.normalize_first = normalize_first
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        hidden_dim = int(input_shape[-1] or 0)
        policy = self.dtype_policy
        self._self_attention_layer = self._attention()
        self._self_attention_layer.build(input_shape)
        self._feedforward_intermediate_dense = keras.layers.Dense(
            self.intermediate_dim,
            activation=self.activation,
            kernel_initializer=fresh(self.kernel_initializer),
            bias_initializer=fresh(self.bias_initializer),
            dtype=policy,
            name="feedforward_intermediate_dense",
        )
        self._feedforward_intermediate_dense.build(input_shape)
        self._feedforward_output_dense = keras.layers.Dense(
            hidden_dim,
            kernel_initializer=fresh(self.kernel_initializer),
            bias_initializer=fresh(self.bias_initializer),
            dtype=policy,
            name="feedforward_output_dense",
        )
        self._feedforward_output_dense.build((*input_shape[:-1], self.intermediate_dim))
        for part in ("self_attention", "feedforward"):
            norm = keras.layers.LayerNormalization(
                epsilon=self.layer_norm_epsilon, dtype=policy, name=f"{part}_layer_norm"
            )
            norm.build(input_shape)
            setattr(self, f"_{part}_layer_norm", norm)
            setattr(self, f"_{part}_dropout", Dropout(self.dropout, dtype=policy, name=f"{part}_dropout"))
        self.built = True

    def _attention(self) -> SelfAttention:
        return SelfAttention(
            self.num_heads,
            self.attention_dropout,
            self.kernel_initializer,
            self.bias_initializer,
            dtype=self.dtype_policy,
            name="self_attention_layer",
        )

    def parts(self) -> EncoderParts:
        """The layers with weights. A method: Keras would save the weights under the name of a property."""
        return EncoderParts(
            self._self_attention_layer,
            self._self_attention_layer_norm,
            self._feedforward_intermediate_dense,
            self._feedforward_output_dense,
            self._feedforward_layer_norm,
        )

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """inputs: (B, T, H); the same out, and, asked for, the attention's probabilities (B, num_heads, T, T).

        padding_mask: (B, T), 1 = real. attention_mask: (B, T, T), or bool (B, 1, 1, T) or (B, 1, T, T), True where a query
        may look; or int32 (B, T), the document of each token, which looks at its own alone.
        """
        mask = _merged(getattr(inputs, "_keras_mask", None) if padding_mask is None else padding_mask, attention_mask)
        first = self._self_attention_layer_norm(inputs) if self.normalize_first else inputs
        scores: list[Tensor] = []
        if return_attention_scores:
            attended, *scores = self._self_attention_layer(first, mask, training=training, return_attention_scores=True)
        else:
            attended = self._self_attention_layer(first, mask, training=training)
        hidden = self.behind_attention(inputs, attended, training)
        return (hidden, scores[0]) if return_attention_scores else hidden

    def behind_attention(self, inputs: Tensor, attended: Tensor, training: bool | None) -> Tensor:
        """`call` behind the attention."""
        hidden = inputs + self._self_attention_dropout(attended, training=training)
        hidden = hidden if self.normalize_first else self._self_attention_layer_norm(hidden)
        first = self._feedforward_layer_norm(hidden) if self.normalize_first else hidden
        inner = self._feedforward_output_dense(self._feedforward_intermediate_dense(first))
        hidden = hidden + self._feedforward_dropout(inner, training=training)
        return hidden if self.normalize_first else self._feedforward_layer_norm(hidden)

    def get_config(self) -> Settings:
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "activation": keras.activations.serialize(self.activation),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "normalize_first": self.normalize_first,
            "attention_dropout": self.attention_dropout,
        }

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return input_shape
