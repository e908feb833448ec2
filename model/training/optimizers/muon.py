"""Muon (Jordan et al. 2024): momentum made orthogonal, for the kernels of the layers; all other variables have AdamW."""

import re

import tensorflow as tf

from clozekit.model.common.kernel_matrix import matrix_shape
from clozekit.model.training.settings.loop_settings import OptimizerSettings

# Of the quintic Newton-Schulz iteration, and how often it runs: Jordan et al. 2024.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
# Brings the root mean square of an update to AdamW's usual one: Liu et al. 2025 (arXiv 2502.16982), section 2.2.
_ADAMW_SIZE = 0.2
_LAYER_KERNEL = re.compile(r"layer_\d+/.*kernel$")


def takes(path: str, shape: tuple[int, ...]) -> bool:
    """Whether a variable is a kernel of a layer of the encoder; embeddings, norms, biases and heads are not."""
    return len(shape) in (2, 3) and _LAYER_KERNEL.search(path) is not None


def moment_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One moment of the variable's shape; of a second one there is nothing to keep."""
    return shape, ()


def orthogonal(matrix: tf.Tensor) -> tf.Tensor:
    """A matrix (m, n) with its singular vectors, and singular values near 1 (0.7 to 1.2), by five Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else tf.transpose(matrix)
    x /= tf.maximum(tf.norm(x), 1e-20)
    for _ in range(_ROUNDS):
        square = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
    return x if wide else tf.transpose(x)


def change(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: OptimizerSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Muon: the momentum of a kernel as the nearest orthogonal matrix, at the size of AdamW's updates.

    So the learning rate and the weight decay are those of AdamW, which the other variables have. Attention's kernels are taken as
    one matrix of all heads.

    Args:
        value, gradient, first: the kernel, its clipped gradient and its moment, float32, of the kernel's shape.
        second: a float32 scalar, which is not used.
        step: a float32 scalar, 1 for the first update; not used.
        decays: whether weights shrink.
        config: momentum and weight decay.

    Returns:
        (change, first, second), float32, of the shapes that came in.

    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks (kellerjordan.github.io/posts/muon), with
        Nesterov's momentum; Liu et al. 2025 (arXiv 2502.16982), section 2.2, for the size of updates.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.muon import change
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> zeros, none, one = tf.zeros([4, 4]), tf.constant(0.0), tf.constant(1.0)
        >>> gradient = tf.linalg.diag(tf.constant([8.0, 4.0, 2.0, 1.0]))
        >>> moved, *_ = change(zeros, gradient, zeros, none, one, decays=True, config=OptimizerSettings("muon"))
        >>> bool(tf.reduce_all(tf.abs(tf.linalg.diag_part(moved) / 0.4 - 1) < 0.35))  # every direction alike
        True
    """
    first = config.momentum * first + (1 - config.momentum) * gradient
    ahead = config.momentum * first + (1 - config.momentum) * gradient
    inputs, outputs = matrix_shape(tuple(value.shape))
    direction = tf.reshape(orthogonal(tf.reshape(ahead, [inputs, outputs])), value.shape)
    size = _ADAMW_SIZE * max(inputs, outputs) ** 0.5
    return size * direction + (config.weight_decay if decays else 0.0) * value, first, second
