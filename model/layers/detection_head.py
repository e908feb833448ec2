"""The head of a discriminator: one logit a token, whether it was replaced."""

from typing import Unpack

import keras
from keras import ops

from clozekit.model.common.tensors import Activation, Settings, Shape, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions, document_positions, truncated_normal


@keras.saving.register_keras_serializable(package="clozekit")
class DetectionHead(keras.layers.Layer):
    """Dense, activation and a dense layer with one output, of hidden states (B, T, hidden_dim); gives logits (B, T), above 0 where a
    token is rather another than the one that was there.

    Args:
        activation: of the first dense layer; the body's.
        first_token_epsilon: with it, the hidden state of the first token of its document is added to each before the dense layer,
            and the sum normalised with this epsilon, as DeBERTa V3's; None: ELECTRA's head.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2; the dense layer is that of its code, `run_pretraining.py`. The sum is
        that of `replaced_token_detection_model.py` in the code of He et al. 2021 (arXiv 2111.09543).

    Example:

        >>> from clozekit.model.layers.detection_head import DetectionHead
        >>> tuple(DetectionHead()(np.ones((3, 7, 8), "float32")).shape)
        (3, 7)
    """

    def __init__(
        self,
        activation: Activation | str = "gelu",
        first_token_epsilon: float | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.first_token_epsilon = first_token_epsilon
        self.layer_norm: keras.layers.LayerNormalization | None = None

    def build(self, inputs_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        hidden_dim = int(inputs_shape[-1] or 0)
        if self.first_token_epsilon is not None:
            self.layer_norm = keras.layers.LayerNormalization(
                epsilon=self.first_token_epsilon, dtype=self.dtype_policy, name="detection_layer_norm"
            )
            self.layer_norm.build(inputs_shape)
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

    def call(self, inputs: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """inputs: (B, T, hidden_dim); document_ids: int32 (B, T) of packed rows, None: each row is one document. Returns (B, T)."""
        if self.layer_norm is not None:
            inputs = self.layer_norm(inputs + first_tokens(inputs, document_ids))
        return ops.squeeze(self.output_dense(self.dense(inputs)), axis=-1)

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return inputs_shape[:-1]

    def get_config(self) -> Settings:
        own = {"first_token_epsilon": self.first_token_epsilon}
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation), **own}


def first_tokens(hidden: Tensor, document_ids: Tensor | None) -> Tensor:
    """Of hidden states (B, T, H) that of the first token of each one's document, (B, T, H); (B, 1, H) where a row is one document."""
    if document_ids is None:
        return hidden[:, :1, :]
    shape = ops.shape(hidden)
    places = ops.reshape(ops.arange(shape[0] * shape[1], dtype="int32"), (shape[0], shape[1]))
    rows = ops.reshape(hidden, (shape[0] * shape[1], shape[2]))
    return ops.take(rows, places - document_positions(document_ids), axis=0)
