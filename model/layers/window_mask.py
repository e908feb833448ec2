"""The mask of local attention: a token looks at those near it and no further."""

from typing import Unpack

import keras
from keras import ops

from clozekit.model.common.tensors import Settings, Tensor
from clozekit.model.layers.transformer_layers import LayerOptions
from clozekit.tokenizers.common.errors import InputError


@keras.saving.register_keras_serializable(package="clozekit")
class WindowMask(keras.layers.Layer):
    """An attention mask (B, 1, 1, T) or (B, 1, T, T), cut to a window around each token: bool (B, 1, T, T).

    Every token looks at itself, padding too: a query that may look nowhere gives NaN on some backends. Documents of a packed
    row are whole runs of tokens, so distances in the row are those in the document.

    Args:
        window: as transformers counts it: half of it, rounded down, to each side.

    Raises:
        InputError: for a window below 1.

    Source: Beltagy et al. 2020 (arXiv 2004.05150), section 3.1, "Sliding Window".

    Example:

        >>> from clozekit.model.layers import WindowMask
        >>> mask = WindowMask(window=2)(np.array([[1, 1, 1, 0]], bool)[:, None, None, :])
        >>> np.asarray(mask)[0, 0].astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """

    def __init__(self, window: int, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        if window < 1:
            raise InputError(f"the window of local attention must be at least 1, got {window}; raise it")
        self.window = window

    def call(self, attention_mask: Tensor) -> Tensor:
        """attention_mask: bool, True where a query may look."""
        places = ops.arange(ops.shape(attention_mask)[-1], dtype="int32")
        distances = ops.abs(ops.expand_dims(places, 1) - ops.expand_dims(places, 0))
        # Not by indexing: LiteRT has no such slices of rows of any length.
        near, own = (
            ops.expand_dims(ops.expand_dims(mask, 0), 0) for mask in (distances <= self.window // 2, distances == 0)
        )
        return ops.logical_or(ops.logical_and(attention_mask, near), own)

    def get_config(self) -> Settings:
        return {**super().get_config(), "window": self.window}
