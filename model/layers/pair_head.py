"""The head of sentence pairs: two logits of the pooled first token, what a pair is and what was done to it."""

from typing import Unpack

import keras

from clozekit.model.common.tensors import Settings, Shape, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.transformer_layers import LayerOptions, truncated_normal


@keras.saving.register_keras_serializable(package="clozekit")
class PairHead(keras.layers.Layer):
    """Dropout and a dense layer with two outputs, for next sentences (Devlin et al. 2018) and their order (Lan et al. 2019).

    Takes what the pooler gives, (..., hidden_dim); gives logits (..., 2): of pairs as they were written, and of the others.

    Args:
        dropout: rate before the dense layer, 0 to 1. The papers' code has none; transformers' ALBERT has 0.1.

    Example:

        >>> from clozekit.model.layers.pair_head import PairHead
        >>> tuple(PairHead()(np.ones((3, 7, 8), "float32")).shape)
        (3, 7, 2)
    """

    def __init__(self, dropout: float = 0.0, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self._dropout = Dropout(dropout, dtype=self.dtype_policy, name="pair_dropout")
        self.dense = keras.layers.Dense(
            2, kernel_initializer=truncated_normal(), dtype=self.dtype_policy, name="pair_logits"
        )

    def build(self, inputs_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        self.dense.build(inputs_shape)
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """inputs: (..., hidden_dim). Returns (..., 2)."""
        return self.dense(self._dropout(inputs, training=training))

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return (*inputs_shape[:-1], 2)

    def get_config(self) -> Settings:
        return {**super().get_config(), "dropout": self.dropout}
