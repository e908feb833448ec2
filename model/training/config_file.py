"""Configurations from YAML files and `key=value` changes: every key known and of its type, or one line that names it."""

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clozekit.model.training.config import ModelConfig, RunConfig, check
from clozekit.tokenizers.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.yaml_files import read_mapping


def load_config(path: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """The configuration in the YAML file `path` with `changes` such as "train.steps=200" on top.

    Raises InputError naming the key for one that is unknown, missing or of another type.
    """
    fields = read_mapping(path)
    apply_changes(fields, changes)
    return config_from_dict(RunConfig, fields, str(path))


def apply_changes(fields: dict[str, Any], changes: Sequence[str]) -> None:
    """Puts "group.key=value" into the nested `fields`; the value is YAML."""
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise InputError(f"a change must look like key=value (train.steps=200), got {change!r}")
        try:
            set_key(fields, key, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise InputError(f"the value of a change must be YAML, got {change!r}") from error


def set_key(fields: dict[str, Any], key: str, value: Any) -> None:
    """Puts a value under a dotted key into the nested `fields`."""
    *groups, name = key.split(".")
    place = fields
    for group in groups:
        place = place.setdefault(group, {})
        check(f"{group} must be a group of keys", isinstance(place, dict), repr(place))
    place[name] = value


def config_from_dict(kind: type, fields: Mapping[str, Any], source: str, prefix: str = "") -> Any:
    hints = typing.get_type_hints(kind)
    if kind is ModelConfig:
        fields = _with_preset(fields)
    for name in fields:
        if name not in hints:
            meant = _nearest(kind, prefix, str(name))
            raise InputError(f"every key of a configuration must be known, {source} has {prefix}{name}; {meant}")
    for entry in dataclasses.fields(kind):
        needed = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if needed and entry.name not in fields:
            raise InputError(f"the key {prefix}{entry.name} is needed, {source} does not have it; add it")
    return kind(**{name: _convert(hints[name], value, source, prefix + str(name)) for name, value in fields.items()})


def _with_preset(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model with those of the built-in preset that it names below them."""
    preset = BUILTIN_PRESETS.get(str(fields.get("preset")))
    if preset is None:
        return dict(fields)
    names = {entry.name for entry in dataclasses.fields(ModelConfig)}
    dimensions = {name: value for name, value in preset.config.items() if name in names}
    return {"family": preset.family, **dimensions, **fields}


def _all_keys(kind: type, prefix: str = "") -> list[str]:
    """Dotted names of all keys of a configuration, groups and what is in them."""
    keys = []
    for name, hint in typing.get_type_hints(kind).items():
        keys.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            keys += _all_keys(typing.cast(type, hint), f"{prefix}{name}.")
    return keys


def _nearest(kind: type, prefix: str, name: str) -> str:
    """Which known key was probably meant: one of this group first, else one anywhere; else all of this group."""
    for keys in (_all_keys(kind, prefix), _all_keys(RunConfig)):
        by_last = {key.rsplit(".", 1)[-1]: key for key in reversed(keys)}
        if close := difflib.get_close_matches(name, by_last, n=1, cutoff=0.7):
            return f"did you mean {by_last[close[0]]}?"
    return f"the keys there are {', '.join(typing.get_type_hints(kind))}"


def _convert(hint: Any, value: Any, source: str, key: str) -> Any:
    if typing.get_origin(hint) is tuple:
        # One value is a list of one.
        (kind, *_) = typing.get_args(hint)
        return tuple(_convert(kind, part, source, key) for part in (value if isinstance(value, list) else [value]))
    if isinstance(hint, types.UnionType) and any(map(dataclasses.is_dataclass, typing.get_args(hint))):
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if dataclasses.is_dataclass(kind))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise InputError(f"{key} must be a group of keys, {source} has {value!r}")
        return config_from_dict(typing.cast(type, hint), value, source, key + ".")
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, str) and float in kinds:
        # YAML reads 1e-3 (without a dot) as text.
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds:
        value = float(value)
    # bool is an int to Python, not to a reader of the file.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("nothing" if kind is types.NoneType else kind.__name__ for kind in kinds)
        raise InputError(f"{key} must be {names}, {source} has {value!r}")
    return value
