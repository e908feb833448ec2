"""Rules that parsed JSON must keep: each gives what breaks it, in words; the first is enough to refuse. No Beam."""

import re
from collections.abc import Iterator
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


def keys_problems(what: str, value: Any, keys: frozenset[str]) -> Iterator[str]:
    """Stops whoever reads on where keys are missing: what comes next takes them for granted."""
    if not isinstance(value, dict):
        yield f"{what} must be an object, it is {shown(value)}"
    elif keys - set(value):
        yield f"{what} must hold {', '.join(sorted(keys - set(value)))}"
    elif set(value) - keys:
        yield f"{what} must not hold {shown(sorted(set(value) - keys))}"


def text_problems(what: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not value:
        yield f"{what} must be a text, it is {shown(value)}"


def whole_problems(what: str, value: Any, low: int, high: int) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        yield f"{what} must be a whole number, it is {shown(value)}"
    elif not low <= value <= high:
        yield f"{what} must be from {low:,} to {high:,}, it is {shown(value)}"


def shown(value: Any) -> str:
    return f"{value!r:.80}"


def sha256_problems(what: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        yield f"{what} must be 64 hexadecimal digits, it is {shown(value)}"
