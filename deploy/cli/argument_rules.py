"""What holds for every option of every command: finite numbers from 0 on, texts of UTF-8, paths that can be."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

from clozekit.tokenizers.common.errors import InputError

# A text to classify may be empty.
_MAY_BE_EMPTY = frozenset({"texts"})
_MAX_NUMBER = 2**63


def _bytes_of(word: str) -> bytes:
    # Bytes of the command line, else surrogates of a caller in Python.
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return word.encode("utf-8", "surrogatepass")


def check_words(words: Sequence[str]) -> None:
    """Raises InputError for an argument that is not UTF-8: Python keeps its bytes as surrogates, which nothing can print."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"every argument must be UTF-8, got {_bytes_of(word)!r:.200}") from error


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises InputError for an option or argument that breaks one of the rules, naming it."""
    for name, value in vars(arguments).items():
        for one in value if isinstance(value, list) else [value]:
            _check(name, one)


def _check(name: str, value: Any) -> None:
    shown = "what stands behind --" if name == "behind" else name.replace("_", " ")
    if isinstance(value, str) and not value and name not in _MAY_BE_EMPTY:
        raise InputError(f"{shown} must not be empty, got ''; leave it out or give it a value (a dot is this folder)")
    if isinstance(value, str) and "\x00" in value and name != "texts":
        raise InputError(f"{shown} must not hold a NUL character, got {value!r:.200}; no path and no name has one")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InputError(f"{shown} must be a finite number, got {value}")
        if not 0 <= value < _MAX_NUMBER:
            raise InputError(f"{shown} must be at least 0 and below 2**63, got {value}")
