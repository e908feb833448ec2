"""Settings: frozen dataclasses from YAML files and `key=value` changes, or one line that names the key that is wrong."""

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.yaml_values import parse_yaml, printable, read_yaml_text, shown
from clozekit.tokenizers.storage.file_systems import reason_of


def check(rule: str, holds: bool, *received: Any, advice: str = "") -> None:
    """Raises InputError with the rule, what was received and what to do unless the rule holds."""
    if not holds:
        raise InputError(f"{rule}, got {' and '.join(map(shown, received))}" + (f"; {advice}" if advice else ""))


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    check(f"{name} must be one of {', '.join(choices)}", value in choices, value)


def read_mapping(path: str | Path, what: str = "a configuration", of: str = "keys to values") -> dict[str, Any]:
    """The mapping in the YAML file at a path or URL. what, of: what it should be, in the words of the error.

    Raises InputError when it can't be read, is no YAML or holds something else.
    """
    try:
        text = read_yaml_text(path)
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{what} must be a readable YAML file, {path} is not ({_reason(error)})") from error
    try:
        fields = parse_yaml(text)
    except InputError as error:
        raise InputError(f"{what} must be YAML, {path} is not: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{what} must be a mapping of {of}, {path} holds {type(fields).__name__}")
    return fields


def read_given(path: str | Path | None, of: str = "keys to values") -> tuple[dict[str, Any], str]:
    """The mapping in a file, an empty one where the command line says it all; and whose keys they are, in an error."""
    return ({}, "the command line") if path is None else (read_mapping(path, of=of), str(path))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else reason_of(error)


def apply_changes(fields: dict[str, Any], changes: Sequence[str], example: str = "train.steps=200") -> None:
    """Puts "group.key=value" into the nested `fields`; the value is YAML. Raises InputError for one that is not so."""
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise InputError(f"a change must look like key=value ({example}), got {shown(change)}")
        try:
            parsed = parse_yaml(value)
        except InputError as error:
            raise InputError(f"the value of a change must be YAML, got {shown(change)}: {error}") from error
        set_key(fields, key, parsed)


def set_key(fields: dict[str, Any], key: str, value: Any) -> None:
    """Puts a value under a dotted key into the nested `fields`."""
    *groups, name = key.split(".")
    place = fields
    for group in groups:
        if place.get(group) is None:
            place[group] = {}
        place = place[group]
        check(f"{printable(group)} must be a group of keys", isinstance(place, dict), place)
    place[name] = value


def rename_keys(fields: dict[str, Any], renamed: Mapping[str, str]) -> list[str]:
    """Puts what stands under an old key under its new one (dotted), both in `renamed`; a line for each that was there.

    Raises InputError where both are given.
    """
    lines = []
    for old, new in renamed.items():
        if old not in fields:
            continue
        *groups, name = new.split(".")
        place: Any = fields
        for group in groups:
            place = (place.get(group) or {}) if isinstance(place, Mapping) else {}
        check(f"{old} is the old name of {new}, which is given too; leave {old} out", name not in place, fields[old])
        set_key(fields, new, fields.pop(old))
        lines.append(f"{old} is called {new} now; the old name is taken in this release only")
    return lines


@dataclasses.dataclass(frozen=True)
class _Reading:
    """What is the same for all keys of one file: its name, the dataclass of the whole, whether one value is a list of one."""

    source: str
    root: type
    one_is_a_list: bool


def make_settings(
    kind: type, fields: Mapping[str, Any], source: str, prefix: str = "", one_is_a_list: bool = False
) -> Any:
    """A `kind`, which is a dataclass, of the nested `fields`.

    Lists become tuples, integers pass for floats, numbers for text in a mapping of names. source: what has the fields,
    prefix: where they stand in it, in the words of an error. one_is_a_list: one value passes for a list of one.

    Raises InputError naming the key for one that is unknown, missing or of another type.
    """
    return _make(kind, fields, prefix, _Reading(source, kind, one_is_a_list))


def _make(kind: type, fields: Mapping[str, Any], prefix: str, reading: _Reading) -> Any:
    source = reading.source
    hints = typing.get_type_hints(kind)
    for name in fields:
        if name not in hints:
            meant = _nearest(kind, reading.root, prefix, printable(name))
            key = prefix + printable(name)
            raise InputError(f"every key of a configuration must be known, {source} has {key}; {meant}")
    for entry in dataclasses.fields(kind):
        needed = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if needed and entry.name not in fields:
            raise InputError(f"the key {prefix}{entry.name} is needed, {source} does not have it; add it")
    values = {name: _convert(hints[name], value, prefix + name, reading) for name, value in fields.items()}
    defaults = {entry.name: entry.default for entry in dataclasses.fields(kind)}
    for name, value in values.items():
        if value != "" or defaults[name] != "":
            _check_value(value, prefix + name)
    made = kind(**values)
    # After its own rules, which say more.
    for name, value in values.items():
        is_negative = isinstance(value, int | float) and value < 0
        check(f"{prefix}{name} must not be negative", not is_negative, value)
    return made


def _check_value(value: Any, key: str) -> None:
    """What holds for every value of every configuration: numbers are finite and of at most 64 bits; a text is not empty (an
    empty path means the folder one stands in) and can be written as UTF-8."""
    if isinstance(value, tuple):
        for part in value:
            _check_value(part, key)
    elif isinstance(value, Mapping):
        for part in value.values():
            if part != "":
                _check_value(part, key)
    elif isinstance(value, str):
        check(f"{key} must not be empty", value != "", value, advice="leave it out for the default")
        check(f"{key} must be text without a null character", is_text(value), value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        check(f"{key} must be a finite number", isinstance(value, int) or math.isfinite(value), value)
        check(f"{key} must be below 2**63", abs(value) < 2**63, value)


def is_text(value: str) -> bool:
    """Whether a string has a form as UTF-8 that a file's name may have: no null character, no lone surrogate."""
    try:
        return b"\x00" not in value.encode()
    except UnicodeEncodeError:
        return False


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _all_keys(kind: type, prefix: str = "") -> list[str]:
    """Dotted names of all keys of a dataclass, groups and what is in them."""
    keys = []
    for name, hint in typing.get_type_hints(kind).items():
        keys.append(prefix + name)
        for inner in filter(dataclasses.is_dataclass, _kinds(hint)):
            keys += _all_keys(typing.cast(type, inner), f"{prefix}{name}.")
    return keys


def _nearest(kind: type, root: type, prefix: str, name: str) -> str:
    """Which known key was probably meant: one of this group first, else one anywhere; else all of this group."""
    return nearest_key(name, [_all_keys(kind, prefix), _all_keys(root)], list(typing.get_type_hints(kind)))


def nearest_key(name: str, groups: Sequence[Sequence[str]], known: Sequence[str]) -> str:
    """What to say of an unknown key: which one was probably meant, by the last part of its dotted name, of the first group
    that has such a one; else all that are `known` there."""
    for keys in groups:
        by_last = {key.rsplit(".", 1)[-1]: key for key in reversed(keys)}
        if close := difflib.get_close_matches(name, by_last, n=1, cutoff=0.7):
            return f"did you mean {by_last[close[0]]}?"
    return f"the keys there are {', '.join(known)}"


def _convert(hint: Any, value: Any, key: str, reading: _Reading) -> Any:
    kinds = _kinds(hint)
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            if isinstance(value, typing.cast(type, kind)):
                return value
            check(f"{key} must be a group of keys", isinstance(value, Mapping), value)
            return _make(typing.cast(type, kind), value, key + ".", reading)
        if typing.get_origin(kind) is tuple:
            parts = typing.get_args(kind)
            if parts[-1] is Ellipsis:
                if reading.one_is_a_list and not isinstance(value, list | tuple):
                    value = [value]
                check(f"{key} must be a list", isinstance(value, list | tuple), value, advice="put it in [brackets]")
                return tuple(_convert(parts[0], part, key, reading) for part in value)
            fits = isinstance(value, list | tuple) and len(value) == len(parts)
            check(f"{key} must be a list of {len(parts)}, null for nothing", fits, value)
            return tuple(_convert(part, entry, key, reading) for part, entry in zip(parts, value, strict=True))
        if typing.get_origin(kind) is Mapping:
            check(f"{key} must be a mapping", isinstance(value, Mapping), value)
            _, part = typing.get_args(kind)
            return {
                str(name): _entry(part, entry, f"{key}.{printable(name)}", reading) for name, entry in value.items()
            }
    if isinstance(value, str) and float in kinds:
        # YAML reads 1e-3 (without a dot) as text.
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds and abs(value) < 2**63:
        return float(value)
    # bool is an int to Python, not to a reader of the file.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("nothing" if kind is types.NoneType else kind.__name__ for kind in kinds)
        advice = "; put it in quotes" if str in kinds and isinstance(value, bool | int | float) else ""
        raise InputError(f"{key} must be {names}, {reading.source} has {shown(value)}{advice}")
    return value


def _entry(hint: Any, value: Any, key: str, reading: _Reading) -> Any:
    """What a mapping has under a name: text there may be written as a number."""
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    return _convert(hint, value, key, reading)
