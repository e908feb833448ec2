"""The encoder block with a gate: normalised first, rotary positions, a feed-forward layer of two factors (GeGLU)."""

from typing import NamedTuple, Unpack

import keras

from clozekit.model.common.tensors import Activation, Settings, Shape, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.rotary_positions import Rotation, rotated
from clozekit.model.layers.transformer_layers import LayerOptions, SelfAttention, fresh, project
from clozekit.tokenizers.common.errors import InputError


class RotaryAttention(SelfAttention):
    """Self-attention whose queries and keys are turned by their positions."""

    def call(
        self,
        inputs: Tensor,
        attention_mask: Tensor | None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        rotation: Rotation | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """What each token takes from the others; rotation None: no positions."""
        query, key, value = (project(dense, inputs) for dense in (self.query_dense, self.key_dense, self.value_dense))
        if rotation is not None:
            query, key = rotated(query, rotation), rotated(key, rotation)
        return self.attend(query, key, value, attention_mask, training, return_attention_scores)


class GatedEncoderParts(NamedTuple):
    """The layers of a built block in the order in which they are applied; attention_norm None: there is none."""

    attention_norm: keras.layers.LayerNormalization | None
    attention: RotaryAttention
    norm: keras.layers.LayerNormalization
    inner: keras.layers.Dense
    gate: keras.layers.Dense
    outer: keras.layers.Dense


@keras.saving.register_keras_serializable(package="clozekit")
class GatedEncoder(keras.layers.Layer):
    """Encoder block: x + attention(norm(x)), then x + outer(activation(inner(norm(x))) * gate(norm(x))); (B, T, H) both ways.

    Args:
        intermediate_dim, num_heads: values of each of the two factors, and attention heads.
        dropout: rate on the product of the two factors.
        attention_dropout: rate on the attention's probabilities and behind it.
        activation: of the first factor; GELU makes it GeGLU.
        layer_norm_epsilon: of the normalisations.
        normalizes_inputs: False leaves the first normalisation out, where the inputs are normalised already.
        attention_bias, feedforward_bias, norm_bias: whether these have biases.
        kernel_initializer, output_initializer: of the kernels, and of those whose products are added to x.
        attention_window: a token looks at those near it, half of the window, rounded down, to each side, as transformers counts
            it; None: at the whole row. Documents of a packed row are whole runs of tokens, so distances in the row are those
            in the document.

    Raises:
        InputError: for a window below 1.

    Source: Shazeer 2020 (arXiv 2002.05202), section 2; Warner et al. 2024 (arXiv 2412.13663), section 2.1.

    Example:

        >>> from clozekit.model.layers import GatedEncoder
        >>> block = GatedEncoder(intermediate_dim=12, num_heads=2)
        >>> mask = np.array([[1, 1, 1, 0, 0]] * 2, bool)[:, None, None, :]
        >>> tuple(block(np.ones((2, 5, 8), "float32"), attention_mask=mask).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Activation | str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        normalizes_inputs: bool = True,
        attention_bias: bool = False,
        feedforward_bias: bool = False,
        norm_bias: bool = False,
        kernel_initializer: keras.Initializer | str = "glorot_uniform",
        output_initializer: keras.Initializer | str = "glorot_uniform",
        attention_window: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.normalizes_inputs = normalizes_inputs
        self.attention_bias = attention_bias
        self.feedforward_bias = feedforward_bias
        self.norm_bias = norm_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        if attention_window is not None and attention_window < 1:
            raise InputError(f"the window of local attention must be at least 1, got {attention_window}; raise it")
        self.attention_window = attention_window

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        hidden_dim = int(input_shape[-1] or 0)
        policy = self.dtype_policy
        if self.normalizes_inputs:
            self._self_attention_layer_norm = self._norm("self_attention_layer_norm", input_shape)
        self._self_attention_layer = RotaryAttention(
            self.num_heads,
            self.attention_dropout,
            self.kernel_initializer,
            keras.initializers.Zeros(),
            use_bias=self.attention_bias,
            output_initializer=self.output_initializer,
            half_window=None if self.attention_window is None else self.attention_window // 2,
            dtype=policy,
            name="self_attention_layer",
        )
        self._self_attention_layer.build(input_shape)
        self._self_attention_dropout = Dropout(self.attention_dropout, dtype=policy, name="self_attention_dropout")
        self._feedforward_layer_norm = self._norm("feedforward_layer_norm", input_shape)
        self._feedforward_intermediate_dense = self._dense(
            "feedforward_intermediate_dense", self.intermediate_dim, self.kernel_initializer, self.activation
        )
        self._feedforward_gate_dense = self._dense(
            "feedforward_gate_dense", self.intermediate_dim, self.kernel_initializer
        )
        self._feedforward_dropout = Dropout(self.dropout, dtype=policy, name="feedforward_dropout")
        self._feedforward_output_dense = self._dense("feedforward_output_dense", hidden_dim, self.output_initializer)
        self._feedforward_intermediate_dense.build(input_shape)
        self._feedforward_gate_dense.build(input_shape)
        self._feedforward_output_dense.build((*input_shape[:-1], self.intermediate_dim))
        self.built = True

    def _norm(self, name: str, input_shape: Shape) -> keras.layers.LayerNormalization:
        norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, center=self.norm_bias, dtype=self.dtype_policy, name=name
        )
        norm.build(input_shape)
        return norm

    def _dense(
        self, name: str, width: int, initializer: keras.Initializer, activation: Activation | None = None
    ) -> keras.layers.Dense:
        return keras.layers.Dense(
            width,
            activation=activation,
            use_bias=self.feedforward_bias,
            kernel_initializer=fresh(initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def parts(self) -> GatedEncoderParts:
        """The layers with weights. A method: Keras would save the weights under the name of a property."""
        return GatedEncoderParts(
            self._self_attention_layer_norm if self.normalizes_inputs else None,
            self._self_attention_layer,
            self._feedforward_layer_norm,
            self._feedforward_intermediate_dense,
            self._feedforward_gate_dense,
            self._feedforward_output_dense,
        )

    def call(
        self,
        inputs: Tensor,
        attention_mask: Tensor | None = None,
        rotation: Rotation | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """inputs: (B, T, H); attention_mask: bool (B, 1, 1, T) or (B, 1, T, T), True where a query may look, or int32 (B, T), the
        document of each token; rotation: of `RotaryPositions`."""
        first = self._self_attention_layer_norm(inputs) if self.normalizes_inputs else inputs
        attended = self._self_attention_layer(first, attention_mask, rotation=rotation, training=training)
        hidden = inputs + self._self_attention_dropout(attended, training=training)
        first = self._feedforward_layer_norm(hidden)
        product = self._feedforward_intermediate_dense(first) * self._feedforward_gate_dense(first)
        return hidden + self._feedforward_output_dense(self._feedforward_dropout(product, training=training))

    def get_config(self) -> Settings:
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation": keras.activations.serialize(self.activation),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "normalizes_inputs": self.normalizes_inputs,
            "attention_bias": self.attention_bias,
            "feedforward_bias": self.feedforward_bias,
            "norm_bias": self.norm_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": keras.initializers.serialize(self.output_initializer),
            "attention_window": self.attention_window,
        }

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return input_shape
