"""The masked-LM head: logits of the masked positions alone, and their loss without ever holding all logits at once."""

import math
from collections.abc import Callable
from typing import NamedTuple, Self, TypedDict, Unpack

import keras
from keras import ops

from clozekit.model.common.one_at_a_time import one_at_a_time
from clozekit.model.common.tensors import Activation, Settings, Shape, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions, fresh
from clozekit.tokenizers.common.errors import InputError

# Logits that are held at once: 2^26 float32 are 256 MB. A loss over more of them is summed in chunks.
MAX_LOGITS = 2**26
# Logits of a chunk, about four arrays of this size being alive at a time. Half of it saves little more, and each chunk
# costs a pass over the gradient of the embedding.
CHUNK_LOGITS = 2**25
# Summed loss and right guesses (2,), and the gradients so far: of the hidden states, the embedding and the bias.
Sums = tuple[Tensor, Tensor, Tensor, Tensor]
Gradients = Callable[..., tuple[Tensor, Tensor, Tensor]]


def gather_positions(inputs: Tensor, positions: Tensor) -> Tensor:
    """(B, T, H) and integers (B, M) -> (B, M, H), by one gather from the flattened batch.

    `ops.take_along_axis` would build (B, M, H) indices; it was seven times slower on CPU.
    """
    length, hidden_dim = ops.shape(inputs)[1], inputs.shape[-1]
    positions = ops.cast(positions, "int32")
    row_starts = ops.arange(ops.shape(inputs)[0], dtype="int32")[:, None] * length
    return ops.take(ops.reshape(inputs, (-1, hidden_dim)), positions + row_starts, axis=0)


class HeadParts(NamedTuple):
    """The parts of a built head in the order in which they are applied."""

    dense: keras.layers.Dense
    norm: keras.layers.LayerNormalization
    bias: keras.Variable


class HeadBiases(TypedDict, total=False):
    """Which parts of a head have biases, as MaskedLMHead takes them."""

    use_bias: bool
    norm_bias: bool


@keras.saving.register_keras_serializable(package="clozekit")
class MaskedLMHead(keras.layers.Layer):
    """Gather, dense, norm, then the token embedding in reverse plus a bias (Devlin et al. 2018, section 3.1).

    The gather comes first, so the projection onto the vocabulary is paid for a sixth of the positions, not for all. Takes
    hidden states (B, T, hidden_dim) and mask_positions, integers (B, M); gives (B, M, vocabulary_size).

    Args:
        vocabulary_size: of the logits; needed where there is no token_embedding.
        token_embedding: the table that is used in reverse; None: a kernel of the head's own.
        intermediate_activation: of the dense layer.
        activation: of the logits, such as "softmax"; None: none.
        layer_norm_epsilon: of the normalisation.
        kernel_initializer, bias_initializer: of the kernels and biases.
        use_bias, norm_bias: whether the dense layer and the normalisation have biases.

    Raises:
        InputError: for neither vocabulary_size nor token_embedding, or two that don't agree.

    Example:

        >>> from clozekit.model.layers import MaskedLMHead
        >>> head = MaskedLMHead(vocabulary_size=30, activation="softmax")
        >>> tuple(head(np.ones((2, 5, 8), "float32"), np.array([[1, 2], [0, 4]])).shape)
        (2, 2, 30)
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        token_embedding: keras.layers.ReversibleEmbedding | None = None,
        intermediate_activation: Activation | str = "relu",
        activation: Activation | str | None = None,
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: keras.Initializer | str = "glorot_uniform",
        bias_initializer: keras.Initializer | str = "zeros",
        use_bias: bool = True,
        norm_bias: bool = True,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        rows = vocabulary_size if token_embedding is None else int(token_embedding.input_dim)
        if rows is None:
            raise InputError("a masked-LM head needs vocabulary_size or token_embedding, got neither; pass one")
        if vocabulary_size not in (None, rows):
            raise InputError(
                f"vocabulary_size must be the rows of token_embedding, got {vocabulary_size} and {rows}; leave it out"
            )
        self.vocabulary_size = rows
        self.token_embedding = token_embedding
        self.intermediate_activation = keras.activations.get(intermediate_activation)
        self.activation = None if activation is None else keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.use_bias = use_bias
        self.norm_bias = norm_bias

    def build(self, inputs_shape: Shape, mask_positions_shape: Shape | None = None) -> None:
        """Makes the weights; Keras calls it."""
        size = int(inputs_shape[-1] or 0) if self.token_embedding is None else self.token_embedding.output_dim
        self._intermediate_dense = keras.layers.Dense(
            size,
            activation=self.intermediate_activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            dtype=self.dtype_policy,
            name="intermediate_dense",
        )
        self._intermediate_dense.build(inputs_shape)
        self._intermediate_layer_norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon,
            center=self.norm_bias,
            dtype=self.dtype_policy,
            name="intermediate_layer_norm",
        )
        self._intermediate_layer_norm.build((*inputs_shape[:-1], size))
        if self.token_embedding is None:
            self._output_kernel = self.add_weight(
                name="output_kernel",
                shape=(size, self.vocabulary_size),
                initializer=fresh(self.kernel_initializer),
            )
        self._output_bias = self.add_weight(
            name="output_bias", shape=(self.vocabulary_size,), initializer=self.bias_initializer
        )
        self.built = True

    def parts(self) -> HeadParts:
        """What has weights, the shared embedding aside. A method: Keras would save them under the name of a property."""
        return HeadParts(self._intermediate_dense, self._intermediate_layer_norm, self._output_bias)

    def call(self, inputs: Tensor, mask_positions: Tensor) -> Tensor:
        """inputs: (B, T, H); mask_positions: integers (B, M). Returns logits (B, M, vocabulary_size)."""
        hidden = self.transform(inputs, mask_positions)
        logits = self._products(hidden) + ops.cast(self._output_bias, hidden.dtype)
        return logits if self.activation is None else self.activation(logits)

    def _products(self, hidden: Tensor) -> Tensor:
        """Of hidden states with every piece of the vocabulary: (B, M, vocabulary_size)."""
        if self.token_embedding is None:
            return ops.matmul(hidden, ops.cast(self._output_kernel, hidden.dtype))
        if self.token_embedding.quantization_mode is not None:
            return ops.cast(self.token_embedding(hidden, reverse=True), hidden.dtype)
        # Not `token_embedding(hidden, reverse=True)`: inside another layer it multiplies in float32 under any policy.
        kernel = ops.transpose(ops.cast(self.token_embedding.embeddings, hidden.dtype))
        return ops.matmul(hidden, kernel)

    def transform(self, inputs: Tensor, mask_positions: Tensor) -> Tensor:
        """What is multiplied with the embedding: (B, M, embedding_dim)."""
        return self._intermediate_layer_norm(self._intermediate_dense(gather_positions(inputs, mask_positions)))

    def _vocabulary(self) -> Tensor:
        """The embedding of every piece: (vocabulary_size, embedding_dim)."""
        if self.token_embedding is None:
            return ops.transpose(self._output_kernel)
        if self.token_embedding.quantization_mode is not None:
            # The numbers of a quantized table are nothing without their scales.
            return self.token_embedding(ops.arange(self.token_embedding.input_dim))
        return self.token_embedding.embeddings

    def loss_and_correct(
        self, inputs: Tensor, mask_positions: Tensor, mask_ids: Tensor, mask_weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy (nats) and summed right guesses over the masked positions, both weighted; float32.

        Equal to what the logits of `call` give, in bounded memory: the positions go through the vocabulary a chunk at
        a time, and the gradients are made in the same pass (a recomputed softmax would cost a fourth product).
        """
        hidden, embedding, bias = self.factors(inputs, mask_positions)
        ids, weights = ops.reshape(mask_ids, (-1,)), ops.cast(ops.reshape(mask_weights, (-1,)), "float32")
        num_positions = hidden.shape[0]
        if num_positions is None:
            raise ValueError("the loss in chunks needs static shapes; give the batch and its slots a fixed size")
        chunk = max(1, min(num_positions, CHUNK_LOGITS // self.vocabulary_size))
        sums = _chunked_sums(hidden, embedding, bias, ids, weights, chunk)
        return sums[0], sums[1]

    def factors(self, inputs: Tensor, mask_positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the logits of N = B x M positions are made of: hidden (N, E), embedding (V, E), and float32 bias (V,)."""
        hidden = self.transform(inputs, mask_positions)
        hidden = ops.reshape(hidden, (-1, hidden.shape[-1]))
        return hidden, ops.cast(self._vocabulary(), hidden.dtype), ops.cast(self._output_bias, "float32")

    def compute_output_shape(self, inputs_shape: Shape, mask_positions_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return (*mask_positions_shape, self.vocabulary_size)

    def get_config(self) -> Settings:
        embedding = self.token_embedding
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "token_embedding": None if embedding is None else keras.saving.serialize_keras_object(embedding),
            "intermediate_activation": keras.activations.serialize(self.intermediate_activation),
            "activation": None if self.activation is None else keras.activations.serialize(self.activation),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "use_bias": self.use_bias,
            "norm_bias": self.norm_bias,
        }

    @classmethod
    def from_config(cls, config: Settings) -> Self:
        embedding = config.get("token_embedding")
        if isinstance(embedding, dict):
            config = {**config, "token_embedding": keras.saving.deserialize_keras_object(embedding)}
        return cls(**config)


def _chunked_sums(hidden: Tensor, embedding: Tensor, bias: Tensor, ids: Tensor, weights: Tensor, chunk: int) -> Tensor:
    """float32 (2,): summed loss and summed right guesses of N positions, `chunk` of them at a time.

    hidden: (N, E); embedding: (V, E); bias: (V,); ids: (N,); weights: (N,). Differentiable in the first three.
    """
    num_positions, vocabulary_size = hidden.shape[0], embedding.shape[0]
    num_chunks = math.ceil(num_positions / chunk)
    missing = num_chunks * chunk - num_positions
    ids, weights = ops.pad(ops.cast(ids, "int32"), [[0, missing]]), ops.pad(weights, [[0, missing]])

    @ops.custom_gradient
    def sums_with_gradients(hidden: Tensor, embedding: Tensor, bias: Tensor) -> tuple[Tensor, Gradients]:
        padded = ops.pad(hidden, [[0, missing], [0, 0]])

        def one_chunk(index: Tensor, state: Sums) -> Sums:
            sums, d_hidden, d_embedding, d_bias = state
            start = index * chunk
            part = ops.slice(padded, (start, 0), (chunk, padded.shape[1]))
            targets, weight = ops.slice(ids, (start,), (chunk,)), ops.slice(weights, (start,), (chunk,))
            logits = ops.cast(ops.matmul(part, ops.transpose(embedding)), "float32") + bias
            log_sum = ops.logsumexp(logits, axis=-1)
            loss = log_sum - ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
            right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), targets), "float32")
            hot = ops.one_hot(targets, vocabulary_size, dtype="float32")
            d_logits = (ops.exp(logits - log_sum[:, None]) - hot) * weight[:, None]
            narrow = ops.cast(d_logits, hidden.dtype)
            return (
                sums + ops.stack([ops.sum(loss * weight), ops.sum(right * weight)]),
                ops.slice_update(d_hidden, (start, 0), ops.matmul(narrow, embedding)),
                d_embedding + ops.cast(ops.matmul(ops.transpose(narrow), part), "float32"),
                d_bias + ops.sum(d_logits, axis=0),
            )

        start = (
            ops.zeros((2,), "float32"),
            ops.zeros_like(padded),
            ops.zeros(embedding.shape, "float32"),
            ops.zeros((vocabulary_size,), "float32"),
        )
        sums, d_hidden, d_embedding, d_bias = one_at_a_time(num_chunks, one_chunk, start)

        def gradients(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
            scale = (arguments[-1] if upstream is None else upstream)[0]
            return (
                ops.cast(scale, hidden.dtype) * d_hidden[:num_positions],
                ops.cast(scale * d_embedding, embedding.dtype),
                scale * d_bias,
            )

        return sums, gradients

    return sums_with_gradients(hidden, embedding, bias)
