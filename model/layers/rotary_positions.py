"""Rotary positions: pairs of values of queries and keys are turned by angles that grow with the position."""

from typing import NamedTuple, Unpack

import keras
import numpy as np
from keras import ops

from clozekit.model.common.tensors import Settings, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions
from clozekit.tokenizers.common.errors import InputError


class Rotation(NamedTuple):
    """cosines, sines: float32 (B, T, size), or (1, T, size) for the same positions in every row."""

    cosines: Tensor
    sines: Tensor


def rotated(inputs: Tensor, rotation: Rotation) -> Tensor:
    """(B, T, num_heads, size), each head's value i turned together with value i + size / 2; in float32 at least."""
    half = inputs.shape[-1] // 2
    precise = keras.backend.result_type(inputs.dtype, "float32")
    values = ops.cast(inputs, precise)
    turned = ops.concatenate([-values[..., half:], values[..., :half]], axis=-1)
    cosines, sines = (ops.expand_dims(ops.cast(table, precise), 2) for table in rotation)
    return ops.cast(values * cosines + turned * sines, inputs.dtype)


@keras.saving.register_keras_serializable(package="clozekit")
class RotaryPositions(keras.layers.Layer):
    """The cosines and sines by which queries and keys are turned, of token_ids (B, T) or of positions (B, T).

    It has no weights. What a turned query and a turned key give depends on the distance of their positions alone.

    Args:
        size: values of a head, an even number.
        base: the longest wave is about 2 pi times as long, in tokens; a larger one tells positions further apart.

    Raises:
        InputError: for an odd size.

    Source: Su et al. 2021 (arXiv 2104.09864), section 3.2.2; which values are pairs is as in GPT-NeoX.

    Example:

        >>> from clozekit.model.layers import RotaryPositions
        >>> cosines, sines = RotaryPositions(size=4, base=10_000.0)(np.ones((2, 3), "int32"))
        >>> tuple(cosines.shape), [f"{value:.3f}" for value in np.asarray(sines)[0, 1]]
        ((1, 3, 4), ['0.841', '0.010', '0.841', '0.010'])
    """

    def __init__(self, size: int, base: float, **kwargs: Unpack[LayerOptions]) -> None:
        # Angles of thousands of radians: never in half precision.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if size % 2:
            raise InputError(f"a head with rotary positions must have an even number of values, got {size}; change it")
        self.size = size
        self.base = base

    def call(self, token_ids: Tensor, positions: Tensor | None = None) -> Rotation:
        """token_ids: integers (B, T), read for their length alone; positions: (B, T), or None for 0, 1, 2, ..."""
        if positions is None:
            positions = ops.expand_dims(ops.arange(ops.shape(token_ids)[1], dtype="int32"), 0)
        exponents = np.arange(0, self.size, 2, dtype=np.float32) / np.float32(self.size)
        frequencies = (1.0 / np.power(np.float32(self.base), exponents)).astype(np.float32)
        angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * np.concatenate([frequencies, frequencies])
        return Rotation(ops.cos(angles), ops.sin(angles))

    def get_config(self) -> Settings:
        return {**super().get_config(), "size": self.size, "base": self.base}
