"""Compiles the inner loops with Numba, and the memory reads they need."""

import functools
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from clozekit.tokenizers.common.import_hooks import around_import

# No fastmath: the scores of SentencePiece must round as its C++ does.
_OPTIONS = {"error_model": "numpy", "boundscheck": False}


def _without_linear_algebra(load: Callable[[], None]) -> None:
    """Numba asks SciPy for its BLAS when the first function is loaded, 0.15 CPU-seconds that no kernel needs. It asks again
    where a function of somebody else multiplies matrices."""
    from numba.np import linalg

    asked = linalg.ensure_blas
    if "scipy" in sys.modules:
        linalg.ensure_blas = lambda: None
    try:
        load()
    finally:
        linalg.ensure_blas = asked


around_import("numba.np.arraymath", _without_linear_algebra)


def kernel_of(function: Callable[..., Any]) -> Any:
    try:
        kernel = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written: compile in each process.
        return numba.njit(**_OPTIONS)(function)
    # Numba compares the age of the kernel's own file only, and would run old machine code after a change in a file
    # that the kernel calls (seen: a crash). Ours is the content of this folder and of the kernel's own file.
    kernel._cache._cache_file._source_stamp = _sources_hash(function.__code__.co_filename)
    return kernel


@functools.cache
def _sources_hash(kernel_file: str) -> str:
    sources = sorted({*Path(__file__).parent.glob("*.py"), Path(kernel_file)})
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


part_of = numba.njit(inline="never", no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)


def type_of(compiled: Any) -> Any:
    """Numba's type of what one of these functions made."""
    cpu_target.typing_context.refresh()
    return cpu_target.typing_context.resolve_value_type(compiled)


@intrinsic
def _load_8_bytes(typing_context: Any, array: types.Array, position: types.Integer) -> tuple[Any, Callable[..., Any]]:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.gep(data, [arguments[1]])
        word = builder.bitcast(address, ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(array, types.int64), generate


def memory_read_of(function: Callable[..., Any]) -> Any:
    """The machine's way of what `function` says in Python."""
    return _load_8_bytes
