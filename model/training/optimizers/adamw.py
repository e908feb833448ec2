"""AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101)."""

import tensorflow as tf

from clozekit.model.training.settings.loop_settings import OptimizerSettings


def change(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: OptimizerSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The change of a variable for a learning rate of 1, and its new moments; float32, of the variable's shape.

    step: a float32 scalar, 1 for the first update. decays: whether weights shrink; norms and biases do not.
    """
    first = config.beta_1 * first + (1 - config.beta_1) * gradient
    second = config.beta_2 * second + (1 - config.beta_2) * tf.square(gradient)
    first_unbiased = first / (1 - tf.pow(config.beta_1, step))
    second_unbiased = second / (1 - tf.pow(config.beta_2, step))
    direction = first_unbiased / (tf.sqrt(second_unbiased) + config.epsilon)
    return direction + (config.weight_decay if decays else 0.0) * value, first, second
