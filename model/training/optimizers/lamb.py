"""LAMB (You et al. 2019, arXiv 1904.00962): AdamW's change of each variable, scaled to the norm of its weights."""

import tensorflow as tf

from clozekit.model.training.optimizers import adamw
from clozekit.model.training.settings.loop_settings import OptimizerSettings


def trust_ratio(value: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """LAMB's factor of a variable: norm of the weights over norm of the change (algorithm 2), 1 where one of them is 0."""
    size, length = tf.norm(value), tf.norm(change)
    usable = tf.logical_and(size > 0, length > 0)
    return tf.where(usable, size / tf.where(usable, length, 1.0), 1.0)


def change(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: OptimizerSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """LAMB: AdamW's change of each variable, scaled to the norm of its weights.

    Norms and biases get no factor, as in the code of LAMB's authors.

    Args:
        value, gradient, first, second: the variable, its clipped gradient and its two moments, float32, of the variable's shape.
        step: a float32 scalar, 1 for the first update.
        decays: whether weights shrink and get the factor.
        config: betas, epsilon and weight decay.

    Returns:
        (change, first, second), float32, of the variable's shape.

    Source: You et al. 2019 (arXiv 1904.00962), algorithm 2.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.lamb import change
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> value, zeros = tf.constant([3.0, 4.0]), tf.zeros([2])
        >>> moved, first, second = change(
        ...     value, tf.constant([1.0, 0.0]), zeros, zeros, tf.constant(1.0), decays=True, config=OptimizerSettings()
        ... )
        >>> round(float(tf.norm(moved)), 3)  # the norm of the weights
        5.0
    """
    whole, first, second = adamw.change(value, gradient, first, second, step, decays, config)
    return whole * trust_ratio(value, whole) if decays else whole, first, second
