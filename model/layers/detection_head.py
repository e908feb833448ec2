"""The head of a discriminator: one logit a token, whether it was replaced."""

from typing import Unpack

import keras
from keras import ops

from clozekit.model.common.tensors import Activation, Settings, Shape, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions, truncated_normal


@keras.saving.register_keras_serializable(package="clozekit")
class DetectionHead(keras.layers.Layer):
    """Dense, activation and a dense layer with one output, of hidden states (..., hidden_dim); gives logits (...), above 0 where a
    token is rather another than the one that was there.

    Args:
        activation: of the first dense layer; the body's.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2; the dense layer is that of its code, `run_pretraining.py`.

    Example:

        >>> from clozekit.model.layers.detection_head import DetectionHead
        >>> tuple(DetectionHead()(np.ones((3, 7, 8), "float32")).shape)
        (3, 7)
    """

    def __init__(self, activation: Activation | str = "gelu", **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def build(self, inputs_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        hidden_dim = int(inputs_shape[-1] or 0)
        self.dense = keras.layers.Dense(
            hidden_dim,
            activation=self.activation,
            kernel_initializer=truncated_normal(),
            dtype=self.dtype_policy,
            name="detection_dense",
        )
        self.dense.build(inputs_shape)
        self.output_dense = keras.layers.Dense(
            1, kernel_initializer=truncated_normal(), dtype=self.dtype_policy, name="detection_logits"
        )
        self.output_dense.build(inputs_shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """inputs: (..., hidden_dim). Returns (...)."""
        return ops.squeeze(self.output_dense(self.dense(inputs)), axis=-1)

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return inputs_shape[:-1]

    def get_config(self) -> Settings:
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
