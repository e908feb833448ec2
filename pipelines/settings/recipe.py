"""The recipe of a dataset, in one YAML file: inputs, cleaning, rows, seed, packing, where it goes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from clozekit.pipelines.settings.corpus_file import OF_A_DATASET, SECTIONS, build_options, lay_over, take_sections
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings, RowSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, make_settings, nearest_key, read_given
from clozekit.tokenizers.settings.yaml_values import printable


@dataclass(frozen=True)
class Recipe:
    """What `clozekit prepare` is told.

    tokenizer: a directory that `clozekit vocab` made.
    output: where the dataset, or the datasets, go.
    file: where this was read, none where options said it all.
    """

    tokenizer: str
    output: str
    reading: ReadSettings
    corpus: CorpusSettings
    rows: RowSettings
    file: str | None = None


_PLACES = ("tokenizer", "output")


@dataclass(frozen=True)
class _Places:
    tokenizer: str | None = None
    output: str | None = None


def load_recipe(path: str | None, changes: Sequence[str], given: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe in the YAML file at `path`, with `changes` such as "rows.seed=1" on top, and on top of those the options
    that were `given`: section -> key -> value, None where one was not; the section "" has tokenizer and output.

    Raises InputError naming the key for one that is unknown, missing or of another type.
    """
    fields, source = read_given(path, of="sections")
    apply_changes(fields, changes, example="rows.seed=1")
    return dataclasses.replace(make_recipe(fields, source, given), file=path)


def make_recipe(
    fields: dict[str, Any], source: str, given: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Recipe:
    """The recipe that the keys of its file make; source: whose they are, in an error. See `load_recipe`."""
    _check_keys(fields, source)
    places = {name: fields.pop(name) for name in _PLACES if name in fields}
    rows = fields.pop("rows", None)
    rows = {} if rows is None else rows
    check(f"section 'rows' of {source} must be a mapping of keys to values", isinstance(rows, dict), rows)
    sections = take_sections(fields, source)
    lay_over({**sections, "": places, "rows": rows}, given)
    made = make_settings(_Places, places, source)
    made_rows = make_settings(RowSettings, rows, source, "rows.", one_is_a_list=True)
    made_rows.options()
    reading, corpus = build_options(sections, source)
    for name in _PLACES:
        if getattr(made, name) is None:
            raise InputError(
                f"--{name} is needed, or the key {name} in a recipe, {source} has neither; add one of them"
            )
    return Recipe(made.tokenizer, made.output, reading, corpus, made_rows)


def _check_keys(fields: Mapping[str, Any], source: str) -> None:
    known = (*OF_A_DATASET, *SECTIONS)
    for name in fields:
        if name not in known:
            shown = printable(name)
            raise InputError(
                f"every key of a recipe must be known, {source} has {shown}; {nearest_key(shown, [known], known)}"
            )
