"""The recipe of a stream, in one YAML file: that of a dataset, its source, its windows, and how that is watched."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.settings.recipe import make_recipe
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.settings.stream_settings import WatchSettings, WindowSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, make_settings, read_given
from clozekit.tokenizers.settings.yaml_values import printable

# Where documents are read from, line by line, as they are typed or piped.
STANDARD_INPUT = "-"
# Of `read` what is said of messages.
_OF_MESSAGES = ("text_key", "id_key", "max_document_mb")


@dataclass(frozen=True)
class StreamRecipe:
    """What `clozekit stream` is told.

    tokenizer: a directory that `clozekit vocab` made. output: where the stream goes. reading: which folders, globs or prefixes
    are watched, or "-", and how documents are found in files; of messages its one input is the source's name. source: what
    gives the documents.
    """

    tokenizer: str
    output: str
    reading: ReadSettings
    corpus: CorpusSettings
    rows: PrepareSettings
    windows: WindowSettings
    watch: WatchSettings
    source: SourceSettings = field(default_factory=SourceSettings)


def load_stream_recipe(path: str | None, changes: Sequence[str]) -> StreamRecipe:
    """The recipe in the YAML file at `path`, if any, with `changes` such as "stream.window_seconds=60" on top.

    Raises InputError naming the key for one that is unknown, missing or of another type, and for what only datasets have.
    """
    fields, source = read_given(path, of="sections")
    apply_changes(fields, changes, example="stream.window_seconds=60")
    return make_stream_recipe(fields, source)


def make_stream_recipe(fields: dict[str, Any], source: str) -> StreamRecipe:
    """The recipe that the keys of its file make; source: whose they are, in an error."""
    section = fields.pop("stream", None)
    section = {} if section is None else section
    check(f"section 'stream' of {source} must be a mapping of keys to values", isinstance(section, dict), section)
    of_windows = {field.name for field in dataclasses.fields(WindowSettings)}
    windows = {name: value for name, value in section.items() if name in of_windows}
    others = {name: value for name, value in section.items() if name not in of_windows}
    made_windows = make_settings(WindowSettings, windows, source, "stream.")
    watch = make_settings(WatchSettings, others, source, "stream.")
    of_source = _take_source(fields, source)
    recipe = make_recipe(fields, source)
    lengths = recipe.rows.sequence_length
    if len(lengths) > 1:
        raise InputError(
            f"a stream has rows of one length, {source} has rows.sequence_length {', '.join(map(str, lengths))}; name one,"
            " and `clozekit compact` makes datasets of others"
        )
    if recipe.reading.sources:
        raise InputError(
            f"a stream reads inputs without weights, {source} has sources; name folders or globs under read.inputs"
        )
    inputs = recipe.reading.inputs
    if STANDARD_INPUT in inputs and len(inputs) > 1:
        raise InputError(
            f"standard input (-) is read alone, {source} names {len(inputs) - 1} inputs beside it; leave them out"
        )
    return StreamRecipe(
        *(recipe.tokenizer, recipe.output, recipe.reading, recipe.corpus, recipe.rows.options()),
        *(made_windows, watch, of_source),
    )


def _take_source(fields: dict[str, Any], source: str) -> SourceSettings:
    """The section 'source', taken out; `read` gets the one input that it stands for."""
    section = fields.pop("source", None)
    section = {} if section is None else section
    check(f"section 'source' of {source} must be a mapping of keys to values", isinstance(section, dict), section)
    made: SourceSettings = make_settings(SourceSettings, section, source, "source.")
    if made.kind == "files":
        return made
    reading = fields.get("read")
    reading = {} if reading is None else reading
    check(f"section 'read' of {source} must be a mapping of keys to values", isinstance(reading, dict), reading)
    if "inputs" in reading or "sources" in fields or "sources" in reading:
        raise InputError(
            f"a source of kind {made.kind} has no inputs beside it, {source} has both; leave out read.inputs, or source"
        )
    others = [] if made.kind == "stdin" else [name for name in reading if name not in _OF_MESSAGES]
    if others:
        raise InputError(
            f"of read a source of kind {made.kind} has {', '.join(_OF_MESSAGES)}, {source} has read.{printable(others[0])};"
            " leave it out"
        )
    fields["read"] = {**reading, "inputs": [STANDARD_INPUT if made.kind == "stdin" else made.name]}
    return made
