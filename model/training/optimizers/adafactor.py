"""Adafactor (Shazeer and Stern 2018, arXiv 1804.04235): second moments as one number a row and one a column."""

import tensorflow as tf

from clozekit.model.common.kernel_matrix import matrix_shape
from clozekit.model.training.settings.loop_settings import OptimizerSettings

# The paper's epsilon_1, epsilon_2, d, and the exponent of its decay (algorithm 4 and section 7).
_LEAST_SQUARE, _LEAST_SCALE, _MOST_CHANGE, _DECAY_POWER = 1e-30, 1e-3, 1.0, 0.8

# Weights are far below it, the bias of what is never predicted is far above it.
_NO_WEIGHT = 1e6


def moment_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of a matrix: a number for each of its rows, and one for each of its columns; of a vector: none, and its shape."""
    if len(shape) < 2:
        return (), shape
    rows, columns = matrix_shape(shape)
    return (rows,), (columns,)


def change(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: OptimizerSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Adafactor without momentum: the gradient over an estimate of its size from row and column means.

    The quotient is clipped, and taken relative to the size of the variable. The learning rate is the paper's relative step size, which begins at 0.01 there.

    Args:
        value, gradient: the variable and its clipped gradient, float32, of one shape.
        first, second: the means of squares, float32: (rows,) and (columns,) of a kernel; a scalar and the variable's shape of others.
        step: a float32 scalar, 1 for the first update.
        decays: whether weights shrink; norms and biases do not.
        config: weight decay, in steps of the learning rate as in AdamW (the paper has none).

    Returns:
        (change, first, second), float32, of the shapes that came in.

    Source: Shazeer and Stern 2018 (arXiv 1804.04235), algorithm 4 (matrices) and algorithm 5 (vectors).

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.adafactor import change
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> value, rows, columns = tf.fill([2, 3], 2.0), tf.zeros([2]), tf.zeros([3])
        >>> moved, rows, columns = change(
        ...     value, tf.fill([2, 3], 0.5), rows, columns, tf.constant(1.0), decays=False, config=OptimizerSettings()
        ... )
        >>> moved.numpy().round(3).tolist()  # at the rate 1 all of the value
        [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    decay = 1.0 - tf.pow(step, -_DECAY_POWER)
    squares = tf.square(gradient) + _LEAST_SQUARE
    if len(value.shape) < 2:
        second = decay * second + (1.0 - decay) * squares
        estimate = second
    else:
        matrix = tf.reshape(squares, matrix_shape(tuple(value.shape)))
        first = decay * first + (1.0 - decay) * tf.reduce_mean(matrix, axis=1)
        second = decay * second + (1.0 - decay) * tf.reduce_mean(matrix, axis=0)
        shares = first / tf.reduce_mean(first)
        # Of rows that had no gradient yet it would be less than float32 can hold.
        estimate = tf.maximum(tf.reshape(shares[:, None] * second[None, :], value.shape), _LEAST_SQUARE)
    direction = gradient / tf.sqrt(estimate)
    direction /= tf.maximum(1.0, _size(direction) / _MOST_CHANGE)
    # Pieces that fill the vocabulary up have a bias that no softmax notices: it says nothing of the others' size.
    usual = tf.where(tf.abs(value) < _NO_WEIGHT, value, 0.0)
    scaled = direction * tf.maximum(_LEAST_SCALE, _size(usual))
    return scaled + (config.weight_decay if decays else 0.0) * value, first, second


def _size(tensor: tf.Tensor) -> tf.Tensor:
    """The root mean square."""
    return tf.sqrt(tf.reduce_mean(tf.square(tensor)))
