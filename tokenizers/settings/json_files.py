"""JSON files that somebody else may have written: read within bounds, or one line that says what is wrong."""

import json
import math
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError

# Far above what any file of ours or of others has: vocabularies of a million pieces take less than 100 MB and 6 levels.
MAX_BYTES = 256 << 20
MAX_DEPTH = 64
_KINDS = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


def read_object(path: str | Path, named: str | None = None) -> dict[str, Any]:
    """The object in a JSON file whose numbers are finite. Raises InputError, calling the file `named`, for all else."""
    return _as_object(read_json(path, named), named or str(path))


def read_list(path: str | Path, named: str | None = None) -> list[Any]:
    """The list in a JSON file. Raises InputError, calling the file `named`, for all else."""
    content = read_json(path, named)
    if not isinstance(content, list):
        raise InputError(
            f"{named or path} must hold a JSON list, it holds {_KINDS.get(type(content), 'an object')}; copy it again"
        )
    return content


def read_json(path: str | Path, named: str | None = None) -> Any:
    """The value in a JSON file whose numbers are finite. Raises InputError, calling the file `named`."""
    named = named or str(path)
    try:
        if not Path(path).is_file():
            raise InputError(f"{named} must be a file, there is none; check the path")
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{named} must be readable, it is not ({error.strerror}); check it") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{named} must be JSON of at most {MAX_BYTES >> 20} MiB, it has more; copy it again")
    return parse_json(content, named)


def parse_object(text: str | bytes, named: str) -> dict[str, Any]:
    """The object that a JSON text holds. Raises InputError, calling the file `named`, for anything else.

    NaN and infinity are let through: a diverged run logs them.
    """
    return _as_object(parse_json(text, named, is_finite=False), named)


def parse_json(content: str | bytes, named: str, is_finite: bool = True) -> Any:
    """The value of a JSON text in UTF-8. Raises InputError, calling its file `named`."""
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, named))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{named} must be JSON in UTF-8, it is damaged at byte {error.start}; copy it again"
        ) from error
    except RecursionError as error:
        raise _too_deep(named) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{named} must be JSON, it is damaged (line {error.lineno}: {error.msg}); copy it again"
        ) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        # Python reads no integer of more than 4,300 digits.
        raise InputError(f"{named} must hold numbers of a few digits, it does not; copy it again") from error
    _check_values(value, "\\ud" in text.lower(), is_finite, named)
    return value


def _as_object(content: Any, named: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        kind = _KINDS.get(type(content), "null")
        raise InputError(f"{named} must hold a JSON object, it holds {kind}; copy it again")
    return content


def _check_values(value: Any, may_hold_surrogates: bool, is_finite: bool, named: str) -> None:
    """Raises InputError for nesting that would end in a RecursionError elsewhere, for 1e999, and for half characters."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
                if may_hold_surrogates:
                    inner.extend(one)
            elif isinstance(one, list):
                inner.extend(one)
            elif is_finite and isinstance(one, float) and not math.isfinite(one):
                raise InputError(f"the numbers of {named} must be finite, it has {one}; correct it")
            elif may_hold_surrogates and isinstance(one, str) and any("\ud800" <= c <= "\udfff" for c in one):
                raise InputError(f"{named} must hold text, it has half of a character ({one[:40]!a}); correct it")
        if not inner:
            return
        level = inner
    raise _too_deep(named)


def _unique(pairs: list[tuple[str, Any]], named: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InputError(f"a JSON object holds each key once, {named} has {key[:200]!a} twice; remove one")
            seen.add(key)
    return found


def _too_deep(named: str) -> InputError:
    return InputError(
        f"{named} must be JSON, its lists and objects are nested too deeply (over {MAX_DEPTH} levels); copy it again"
    )
