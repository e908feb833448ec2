"""Marks the inner loops that Numba compiles; Numba, 0.3 CPU-seconds, is loaded when the first of them runs."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from clozekit.tokenizers.common.seldom_collection import paused_collection


class Compiled:
    """A function of Python that Numba compiles when it is first called, or when a kernel that calls it is compiled."""

    def __init__(self, function: Callable[..., Any], how: str) -> None:
        """how: the function of numba_functions.py that compiles it."""
        functools.update_wrapper(self, function)
        self.py_func = function
        self._how = how

    @functools.cached_property
    def machine_code(self) -> Any:
        """Numba's own object."""
        return getattr(_numba_functions(), self._how)(self.py_func)

    @property
    def _numba_type_(self) -> Any:
        # By this name Numba asks what it meets in a kernel for its type.
        return _numba_functions().type_of(self.machine_code)

    def __call__(self, *arguments: Any) -> Any:
        return self.machine_code(*arguments)

    def __reduce__(self) -> str:
        return self.py_func.__qualname__


@functools.cache
def _numba_functions() -> ModuleType:
    with paused_collection():
        from clozekit.tokenizers.kernels import numba_functions

    return numba_functions


def compile_kernel(function: Callable[..., Any]) -> Any:
    """`function` compiled on its first call; the machine code is kept on disk for later processes.

    The GIL stays held: kernels write into the word cache of their tokenizer, which threads may share.
    """
    return Compiled(function, "kernel_of")


def inline(function: Callable[..., Any]) -> Any:
    """For the small functions that kernels are made of."""
    return Compiled(function, "part_of")


def _load_8_bytes(array: Any, position: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes(array[position : position + 8]), "little"))


# array[position : position + 8] of a uint8 array as one little-endian uint64, in a kernel, without checking the bounds.
load_8_bytes: Any = Compiled(_load_8_bytes, "memory_read_of")
