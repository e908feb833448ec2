"""The matrix that a kernel of several axes is: attention keeps its heads on axes of their own."""


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(inputs, outputs) of a kernel of two axes, or of attention's three: (hidden, heads, head) or, coming out, (heads, head, hidden).

    Raises ValueError for another number of axes.

    Example:

        >>> from clozekit.model.common.kernel_matrix import matrix_shape
        >>> matrix_shape((16, 2, 8)), matrix_shape((2, 8, 16))
        ((16, 16), (16, 16))
    """
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) != 3:
        raise ValueError(f"a kernel has two axes or three, got the shape {shape}")
    first, middle, last = shape
    return (first * middle, last) if first * middle == last else (first, middle * last)
