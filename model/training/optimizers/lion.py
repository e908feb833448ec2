"""Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a running average of gradients, with one moment instead of two."""

import tensorflow as tf

from clozekit.model.training.settings.loop_settings import OptimizerSettings

is_elementwise = True


def moment_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One moment of the variable's shape; of a second one there is nothing to keep."""
    return shape, ()


def change(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: OptimizerSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Lion: every weight moves by the learning rate, up or down.

    Args:
        value, gradient, first: the variable, its clipped gradient and its moment, float32, of the variable's shape.
        second: a float32 scalar, which is not used.
        step: a float32 scalar, 1 for the first update; not used.
        decays: whether weights shrink; norms and biases do not.
        config: betas (0.9 and 0.99 in the paper) and weight decay.

    Returns:
        (change, first, second), float32, of the shapes that came in.

    Source: Chen et al. 2023 (arXiv 2302.06675), algorithm 2.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.lion import change
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> zeros, none, one = tf.zeros([2]), tf.constant(0.0), tf.constant(1.0)
        >>> moved, *_ = change(
        ...     zeros, tf.constant([0.5, -2.0]), zeros, none, one, decays=True, config=OptimizerSettings()
        ... )
        >>> moved.numpy().tolist()
        [1.0, -1.0]
    """
    direction = tf.sign(config.beta_1 * first + (1 - config.beta_1) * gradient)
    first = config.beta_2 * first + (1 - config.beta_2) * gradient
    return direction + (config.weight_decay if decays else 0.0) * value, first, second
