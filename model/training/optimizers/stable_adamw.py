"""StableAdamW (Wortsman et al. 2023, arXiv 2304.13013): AdamW, with smaller steps where the second moment lags behind."""

import tensorflow as tf

from clozekit.model.training.optimizers import adamw
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
    """StableAdamW: AdamW's change of each variable, divided by how far its gradients are above what the second moment says.

    The divisor is the root mean square of gradient / sqrt(second moment), and at least 1: Adafactor's clipping of updates.

    Args:
        value, gradient, first, second: the variable, its clipped gradient and its two moments, float32, of the variable's shape.
        step: a float32 scalar, 1 for the first update.
        decays: whether weights shrink; norms and biases do not.
        config: betas, epsilon and weight decay.

    Returns:
        (change, first, second), float32, of the variable's shape.

    Source: Wortsman et al. 2023 (arXiv 2304.13013), algorithm 2.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.stable_adamw import change
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> zeros, settings = tf.zeros([2]), OptimizerSettings(beta_1=0.0)
        >>> _, first, second = change(zeros, tf.ones([2]), zeros, zeros, tf.constant(1.0), decays=False, config=settings)
        >>> moved, *_ = change(zeros, tf.fill([2], 100.0), first, second, tf.constant(2.0), decays=False, config=settings)
        >>> moved.numpy().round(3).tolist()  # a gradient a hundred times bigger, a step no bigger
        [1.0, 1.0]
    """
    whole, first, second = adamw.change(value, gradient, first, second, step, decays, config)
    unbiased = second / (1 - tf.pow(config.beta_2, step))
    squares = tf.square(gradient) / tf.maximum(unbiased, config.epsilon**2)
    return whole / tf.maximum(1.0, tf.sqrt(tf.reduce_mean(squares))), first, second
