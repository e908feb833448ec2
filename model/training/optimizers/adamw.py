"""AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101)."""

import tensorflow as tf

from clozekit.model.training.settings.loop_settings import OptimizerSettings

is_elementwise = True


def change(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: OptimizerSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """AdamW: the change of a variable for a learning rate of 1, and its new moments.

    Args:
        value, gradient, first, second: the variable, its clipped gradient and its two moments, float32, of the variable's shape.
        step: a float32 scalar, 1 for the first update.
        decays: whether weights shrink; norms and biases do not.
        config: betas, epsilon and weight decay.

    Returns:
        (change, first, second), float32, of the variable's shape.

    Source: Loshchilov and Hutter 2017 (arXiv 1711.05101), algorithm 2.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.adamw import change
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> zeros, one = tf.zeros([2]), tf.constant(1.0)
        >>> moved, first, second = change(
        ...     zeros, tf.constant([0.5, -2.0]), zeros, zeros, one, decays=True, config=OptimizerSettings()
        ... )
        >>> moved.numpy().round(3).tolist()  # at first every change is of size 1
        [1.0, -1.0]
    """
    first = config.beta_1 * first + (1 - config.beta_1) * gradient
    second = config.beta_2 * second + (1 - config.beta_2) * tf.square(gradient)
    first_unbiased = first / (1 - tf.pow(config.beta_1, step))
    second_unbiased = second / (1 - tf.pow(config.beta_2, step))
    direction = first_unbiased / (tf.sqrt(second_unbiased) + config.epsilon)
    return direction + (config.weight_decay if decays else 0.0) * value, first, second
