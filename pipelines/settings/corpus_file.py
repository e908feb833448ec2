"""The sections of a YAML file that say what is read and what is selected of it: sources, cleaning, rules, duplicates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import ReadSettings, Source
from clozekit.tokenizers.settings.settings_files import check, make_settings, read_mapping


@dataclass(frozen=True)
class _Sections:
    """What the file may have. `load_fields` puts the sources to what is read."""

    read: ReadSettings
    sources: tuple[Source, ...] = ()
    clean: CleanSettings = CleanSettings()
    filter: FilterSettings = FilterSettings()
    decontaminate: DecontaminateSettings = DecontaminateSettings()
    deduplicate: DeduplicateSettings = DeduplicateSettings()


SECTIONS = ("sources", "read", "clean", "filter", "decontaminate", "deduplicate")
# What the recipe of a dataset has besides, which says nothing of a vocabulary.
OF_A_DATASET = ("tokenizer", "output", "rows")


def load_fields(path: str | None) -> dict[str, dict[str, Any]]:
    """Section -> its fields, as a recipe has them: what it says of tokenizer, output and rows is passed over. Raises
    InputError for a file that is no mapping of sections."""
    found = {} if path is None else read_mapping(path, of="sections")
    return take_sections({name: value for name, value in found.items() if name not in OF_A_DATASET}, str(path))


def take_sections(found: Mapping[str, Any], path: str) -> dict[str, dict[str, Any]]:
    """Section -> its fields; all sections of a corpus are there, whether or not they were `found`."""
    fields: dict[str, dict[str, Any]] = {"read": {}, "clean": {}, "filter": {}, "decontaminate": {}, "deduplicate": {}}
    for name, section in found.items():
        if name == "sources":
            listed = isinstance(section, list) and all(isinstance(source, dict) for source in section)
            check(f"sources of {path} must be a list of mappings (name, inputs, weight)", listed, section)
            fields["read"]["sources"] = tuple(make_settings(Source, source, path, "sources.") for source in section)
        else:
            check(f"section {name!r} of {path} must be a mapping of keys to values", isinstance(section, dict), section)
            fields.setdefault(name, {}).update(section)
    return fields


def lay_over(fields: Mapping[str, dict[str, Any]], given: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts what was `given` (section -> key -> value, None where it was not) before the fields; mappings are joined."""
    for section, values in given.items():
        into = fields[section]
        for key, value in values.items():
            if isinstance(value, Mapping) and isinstance(into.get(key), Mapping):
                into[key] = {**into[key], **value}
            elif value is not None:
                into[key] = value


def build_options(
    fields: Mapping[str, Mapping[str, Any]], source: str = "the configuration"
) -> tuple[ReadSettings, CorpusSettings]:
    """The settings that the fields of all sections make. Raises InputError for an unknown key or a value of another type."""
    made = make_settings(_Sections, fields, source)
    return made.read, CorpusSettings(made.clean, made.filter, made.decontaminate, made.deduplicate)
