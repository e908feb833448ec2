"""The compiled kernels run as plain Python on arrays that refuse any index outside of them, negative ones too.

Numba's own bounds checks (NUMBA_BOUNDSCHECK) take a negative index for one from the end, as NumPy does; here it is a
fault as well. Nothing of the kernels' code is copied: each function is the source that Numba compiles.
"""

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from clozekit.tokenizers import byte_pair, sentence_piece, wordpiece
from clozekit.tokenizers.kernels import (
    byte_pair_kernel,
    charsmap,
    compiled,
    sentence_piece_kernel,
    trie,
    utf8,
    word_cache,
    wordpiece_kernel,
)

_MODULES = (utf8, trie, word_cache, charsmap, wordpiece_kernel, byte_pair_kernel, sentence_piece_kernel)
# Where the tokenizers call a kernel by name.
_CALLERS = ((wordpiece, "encode_wordpiece"), (byte_pair, "encode_byte_pairs"), (byte_pair, "fill_merges"))
_CALLERS += ((sentence_piece, "encode_sentence_pieces"), (trie, "_build"))


class OutOfBounds(AssertionError):
    """A kernel read or wrote outside of an array: compiled, it would touch memory that is not its own."""


class CheckedArray(np.ndarray):
    """An array whose every index must lie inside it."""

    def __getitem__(self, place: Any) -> Any:
        self._check(place)
        return np.ndarray.__getitem__(self, place)

    def __setitem__(self, place: Any, value: Any) -> None:
        self._check(place)
        # As in machine code: a number that does not fit is cut to the array's type, floats excepted.
        if self.dtype.kind in "iu" and isinstance(value, int | np.integer):
            value = np.array(int(value) & (1 << 8 * self.itemsize) - 1, f"u{self.itemsize}").view(self.dtype)
        np.ndarray.__setitem__(self, place, value)

    def _check(self, place: Any) -> None:
        places, inside = place if isinstance(place, tuple) else (place,), True
        for index, size in zip(places, self.shape, strict=False):
            if isinstance(index, slice):
                inside &= 0 <= (index.start or 0) <= (size if index.stop is None else index.stop) <= size
            else:
                inside &= 0 <= index < size
        if not inside:
            raise OutOfBounds(f"index {place} of an array of {self.shape}")


class _CheckedNumpy(types.ModuleType):
    """NumPy for kernels: what they make is checked, and begins with what is in memory, which is anything."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: Any, dtype: Any = np.float64) -> Any:
        made = np.empty(shape, dtype)
        made.view(np.uint8)[...] = 0xA5
        return made.view(CheckedArray)

    @staticmethod
    def arange(stop: int) -> Any:
        return np.arange(stop).view(CheckedArray)


def _namespaces() -> dict[str, dict[str, Any]]:
    """Module name -> its names, where every compiled function is plain Python that sees these names."""
    made: dict[str, dict[str, Any]] = {module.__name__: dict(vars(module)) for module in _MODULES}
    for names in made.values():
        for name, value in names.items():
            if isinstance(value, compiled.Compiled):
                function = value.py_func
                # What has no other names in it is taken as it is.
                seen = made.get(function.__module__, function.__globals__)
                names[name] = types.FunctionType(function.__code__, seen, name)
        names["np"] = _CheckedNumpy("numpy")
    return made


_NAMES = _namespaces()


def checked(kernel: Any) -> Callable[..., Any]:
    """The kernel as plain Python that checks every index of the arrays it is given and of those it makes."""
    function = _NAMES[kernel.py_func.__module__][kernel.py_func.__name__]

    def run(*arguments: Any) -> Any:
        views = [a.view(CheckedArray) if isinstance(a, np.ndarray) else a for a in arguments]
        # Unsigned products wrap in machine code as in the hash of a word.
        with np.errstate(over="ignore", invalid="ignore"):
            return function(*views)

    return run


def check_kernels(monkeypatch: Any) -> None:
    """From now on the tokenizers call checked kernels."""
    for module, name in _CALLERS:
        monkeypatch.setattr(module, name, checked(getattr(module, name)))
