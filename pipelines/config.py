"""The YAML file of `--config`: sources, reading, cleaning, filter, decontamination and deduplication in one place."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from clozekit.pipelines.corpus_options import (
    CleanOptions,
    CorpusOptions,
    DecontaminateOptions,
    DeduplicateOptions,
    FilterOptions,
)
from clozekit.pipelines.options import ReadOptions, Source
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.yaml_files import read_mapping

SECTIONS = {
    "clean": CleanOptions,
    "filter": FilterOptions,
    "decontaminate": DecontaminateOptions,
    "deduplicate": DeduplicateOptions,
}


def load_fields(path: str | None) -> dict[str, dict[str, Any]]:
    """Section -> its fields, as the file has them. Raises InputError for a file that is no mapping of known sections."""
    fields: dict[str, dict[str, Any]] = {name: {} for name in ("read", *SECTIONS)}
    if path is None:
        return fields
    loaded = read_mapping(path, of="sections")
    for name, section in loaded.items():
        _check_known(name, (*fields, "sources"), path)
        if name == "sources":
            fields["read"]["sources"] = _sources(section, path)
        elif not isinstance(section, dict):
            raise InputError(f"section {name!r} of {path} must be a mapping of keys to values, got {section!r}")
        else:
            fields[name].update(section)
    return fields


def build_options(fields: Mapping[str, Mapping[str, Any]]) -> tuple[ReadOptions, CorpusOptions]:
    """The settings that the fields of all sections make. Raises InputError for an unknown key or a value of another type."""
    reading = _build(ReadOptions, fields["read"], "read")
    sections = {name: _build(kind, fields[name], name) for name, kind in SECTIONS.items()}
    return reading, CorpusOptions(**sections)


def _sources(section: Any, path: str) -> tuple[Source, ...]:
    if not isinstance(section, list) or not all(isinstance(source, dict) for source in section):
        raise InputError(f"sources of {path} must be a list of mappings (name, inputs, weight), got {section!r}")
    return tuple(_build(Source, source, "sources") for source in section)


def parse_source(text: str) -> Source:
    """A source as the command line has it: NAME=PATH or NAME=PATH:WEIGHT."""
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise InputError(f"--source must look like NAME=PATH or NAME=PATH:WEIGHT, got {text!r}")
    path, colon, weight = rest.rpartition(":")
    if colon:
        try:
            return Source(name, (path,), float(weight))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
    return Source(name, (rest,))


def parse_rule(text: str) -> tuple[str, list[float | None]]:
    """A rule as the command line has it: TAG=LEAST..MOST, either side empty for no bound."""
    tag, equals, bounds = text.partition("=")
    low, dots, high = bounds.partition("..")
    try:
        if equals and dots:
            return tag, [float(bound) if bound else None for bound in (low, high)]
    except ValueError:
        pass
    raise InputError(f"--rule must look like num_words=50..100000 (either side may be empty), got {text!r}")


def _check_known(name: Any, known: typing.Iterable[str], where: str) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(names)}"
        raise InputError(f"every key of a configuration must be known, {where} has {name}; {hint}")


def _build(kind: type, fields: Mapping[str, Any], section: str) -> Any:
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in fields.items():
        _check_known(name, (field.name for field in dataclasses.fields(kind)), section)
        values[name] = _checked(value, hints[name], f"{section}.{name}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{section} must have all its keys, {dict(fields)} has not ({error})") from error


def _checked(value: Any, hint: Any, key: str) -> Any:
    """`value` as the field's type: lists become tuples, integers pass for floats."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        if isinstance(value, list | tuple):
            return tuple(_checked(item, arguments[0], key) for item in value)
        raise InputError(f"{key} must be a list, got {value!r}; put it in [brackets]")
    if origin is not None and isinstance(value, Mapping):
        return {str(tag): _bounds(bounds, f"{key}.{tag}") for tag, bounds in value.items()}
    allowed = arguments if origin is not None else (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not any(
        isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        for kind in allowed
        if isinstance(kind, type)
    ):
        names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed)
        raise InputError(f"{key} must be {names}, got {value!r}")
    return value


def _bounds(value: Any, key: str) -> tuple[float | None, float | None]:
    if isinstance(value, list | tuple) and len(value) == 2:
        low, high = (_checked(bound, float | None, key) for bound in value)
        return low, high
    raise InputError(f"{key} must be a pair [least, most], null for no bound, got {value!r}")
