"""The table of relative positions that all blocks of an encoder share, normalised."""

from typing import Unpack

import keras
from keras import ops

from clozekit.model.common.tensors import Settings, Shape, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions


@keras.saving.register_keras_serializable(package="clozekit")
class RelativeEmbedding(keras.layers.Layer):
    """Learned embeddings of relative positions, (2 span, H) float32 unless dtype is another, of hidden states (B, T, H).

    These are read for their width alone.

    Args:
        span: how many positions there are to each side.
        layer_norm_epsilon: of the normalisation; None: there is none.
        initializer: of the table.

    Source: He et al. 2020 (arXiv 2006.03654), section 3.1.

    Example:

        >>> from clozekit.model.layers import RelativeEmbedding
        >>> tuple(RelativeEmbedding(span=8)(np.ones((2, 5, 4), "float32")).shape)
        (16, 4)
    """

    def __init__(
        self,
        span: int,
        layer_norm_epsilon: float | None = 1e-5,
        initializer: keras.Initializer | str = "glorot_uniform",
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.span = span
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        """Makes the weights; Keras calls it."""
        shape = (2 * self.span, int(input_shape[-1] or 0))
        self.embeddings = self.add_weight(name="rel_embedding", shape=shape, initializer=self.initializer)
        if self.layer_norm_epsilon is not None:
            self.layer_norm = keras.layers.LayerNormalization(
                epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name="rel_embeddings_layer_norm"
            )
            self.layer_norm.build(shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, H)."""
        table = ops.cast(self.embeddings, self.compute_dtype)
        return table if self.layer_norm_epsilon is None else self.layer_norm(table)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of what comes out."""
        return (2 * self.span, input_shape[-1])

    def get_config(self) -> Settings:
        return {
            **super().get_config(),
            "span": self.span,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer": keras.initializers.serialize(self.initializer),
        }
