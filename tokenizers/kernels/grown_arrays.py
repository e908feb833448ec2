"""Arrays that kernels fill without knowing how much comes: longer ones with the same beginning."""

from typing import Any

import numpy as np

from clozekit.tokenizers.kernels.compiled import inline


@inline
def longer(array: Any, least: int) -> Any:
    """Twice as many values, or `least` where that is more; what is new is not set."""
    grown = np.empty(max(2 * len(array), least), array.dtype)
    grown[: len(array)] = array
    return grown


@inline
def longer_rows(array: Any, least: int) -> Any:
    """Twice as many rows, or `least` where that is more; what is new is not set."""
    grown = np.empty((max(2 * len(array), least), array.shape[1]), array.dtype)
    grown[: len(array)] = array
    return grown
