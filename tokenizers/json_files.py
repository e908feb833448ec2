"""JSON files of others: read within bounds of size and depth, and refused in one line where they are damaged."""

import json
import math
from pathlib import Path
from typing import Any

from clozekit.tokenizers.errors import InputError

# Far above what any preset has: the longest, of vocabularies of a million pieces, have less than 100 MB and 6 levels.
MAX_BYTES = 512 * 1024**2
MAX_DEPTH = 64


def read_json(path: str | Path, named: str | None = None) -> Any:
    """The JSON in a file. Raises InputError, calling the file `named`, for what is damaged, twice there or boundless."""
    named = named or str(path)
    try:
        if not Path(path).is_file():
            raise InputError(f"{named} must be a file, it is none; check it")
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{named} must be JSON of at most {MAX_BYTES:,} bytes, it has {size:,}; copy it again")
        return parse_json(Path(path).read_bytes(), named)
    except OSError as error:
        raise InputError(f"{named} must be readable, it is not ({error.strerror}); check it") from error


def read_json_object(path: str | Path, named: str | None = None) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError as `read_json`, and for any other value."""
    content = read_json(path, named)
    if not isinstance(content, dict):
        raise InputError(
            f"{named or path} must be a JSON object, it holds {_json_name(content)}: it is damaged; copy it again"
        )
    return content


def parse_json(content: bytes | str, named: str) -> Any:
    """The value of JSON in UTF-8. Raises InputError, calling its file `named`."""
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(
            text, object_pairs_hook=lambda pairs: _unique(pairs, named), parse_constant=lambda name: _refuse(name, named)
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{named} must be UTF-8, it is damaged at byte {error.start}; copy it again") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}: {error.msg}"
        raise InputError(f"{named} must be JSON, it is damaged ({where}); copy it again") from error
    except RecursionError as error:
        raise _too_deep(named) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        # Python reads no number of more than 4,300 digits.
        raise InputError(f"{named} must hold numbers of a few digits, it does not; copy it again") from error
    _check_values(value, "\\ud" in text.lower(), named)
    return value


def _check_values(value: Any, may_hold_surrogates: bool, named: str) -> None:
    """Raises InputError for nesting that would end in a RecursionError elsewhere, for 1e999, and for half characters."""
    pending, depth = [value], 0
    while pending:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep(named)
        inner: list[Any] = []
        for one in pending:
            if isinstance(one, dict):
                inner.extend(one.values())
                if may_hold_surrogates:
                    inner.extend(one)
            elif isinstance(one, list):
                inner.extend(one)
            elif isinstance(one, float):
                if not math.isfinite(one):
                    _refuse("a number beyond all floats", named)
            elif may_hold_surrogates and isinstance(one, str) and any("\ud800" <= c <= "\udfff" for c in one):
                raise InputError(f"{named} must hold text, it has half of a character ({one!a:.80}); mend it")
        pending = inner


def _unique(pairs: list[tuple[str, Any]], named: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InputError(f"a JSON object holds each key once, {named} has {twice!a:.200} twice; remove one")
    return found


def _refuse(number: str, named: str) -> Any:
    raise InputError(f"the numbers of {named} must be finite, it has {number}; mend it")


def _too_deep(named: str) -> InputError:
    return InputError(f"{named} must be JSON of at most {MAX_DEPTH} levels, it is nested deeper; copy it again")


def _json_name(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
