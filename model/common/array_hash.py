"""One hash of the weights of a model: of their names, shapes and values, in no order, wherever they are kept."""

import hashlib
from collections.abc import Mapping

import numpy as np


def arrays_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256, hexadecimal, of named arrays; the same for the weights in memory and for those read from a checkpoint."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {arrays[name].shape} ".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
