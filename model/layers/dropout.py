"""Dropout (Srivastava et al. 2014) whose random numbers cost next to nothing."""

import keras

from clozekit.model.common.tensors import Tensor


@keras.saving.register_keras_serializable(package="clozekit")
class Dropout(keras.layers.Dropout):
    """As Keras's, but on TensorFlow the mask is a hash of (state of the layer's seed generator, place of the value).

    XLA computes it inside of its neighbours and keeps nothing for the backward pass. Keras's takes numbers of Philox,
    which XLA on a CPU can't fuse: they were 12% of a training step (BERT of 4 x 256, rows of 128), the hash under 1%.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0 or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training)
        return _dropped(inputs, self.rate, self.seed_generator.next())


def _dropped(inputs: Tensor, rate: float, seed: Tensor) -> Tensor:
    """`inputs` with a share `rate` of zeros, the rest larger in turn; seed: two integers."""
    import tensorflow as tf

    from clozekit.model.common.hashing import hash_places

    shape = tf.shape(inputs)
    bits = tf.reshape(hash_places(seed, tf.reduce_prod(shape[:-1]), shape[-1]), shape)
    kept = bits >= round(rate * 2**31)
    return tf.where(kept, inputs * tf.cast(1 / (1 - rate), inputs.dtype), tf.zeros([], inputs.dtype))
