"""What ModernBERT's heads have before their last layer: dense, activation, normalisation."""

from typing import Unpack

import keras

from clozekit.model.common.tensors import Activation, Settings, Shape, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions, fresh


@keras.saving.register_keras_serializable(package="clozekit")
class PredictionHead(keras.layers.Layer):
    """Dense, activation, normalisation, of float (B, H) or (B, T, H); the same shape out, float32 unless dtype is another.

    Args:
        activation: of the dense layer.
        layer_norm_epsilon: of the normalisation.
        use_bias, norm_bias: whether the two have biases.
        kernel_initializer: of the dense layer.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 2.1; the layers are those of Hugging Face's class.

    Example:

        >>> from clozekit.model.layers import PredictionHead
        >>> tuple(PredictionHead()(np.ones((2, 8), "float32")).shape)
        (2, 8)
    """

    def __init__(
        self,
        activation: Activation | str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        use_bias: bool = False,
        norm_bias: bool = False,
        kernel_initializer: keras.Initializer | str = "glorot_uniform",
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.use_bias = use_bias
        self.norm_bias = norm_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        self.dense = keras.layers.Dense(
            int(input_shape[-1] or 0),
            activation=self.activation,
            use_bias=self.use_bias,
            kernel_initializer=fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="pooled_dense",
        )
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, center=self.norm_bias, dtype=self.dtype_policy, name="layer_norm"
        )
        self.dense.build(input_shape)
        self.norm.build(input_shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """inputs: (..., H); the same out."""
        return self.norm(self.dense(inputs))

    def get_config(self) -> Settings:
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "use_bias": self.use_bias,
            "norm_bias": self.norm_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return input_shape


def predicted_from(head: PredictionHead | None, hidden: Tensor) -> Tensor:
    """What the last layer of a head reads: hidden states, through the prediction head where there is one."""
    return hidden if head is None else head(hidden)


def layers_of(head: PredictionHead | None) -> dict[str, keras.Layer]:
    """The layers with weights by their place in `task.weights.h5`."""
    return (
        {} if head is None else {"layers/prediction_head/dense": head.dense, "layers/prediction_head/norm": head.norm}
    )
