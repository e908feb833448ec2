"""The recipe of a stream, in one YAML file: that of a dataset, and its windows and how its source is watched."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.settings.recipe import make_recipe
from clozekit.pipelines.settings.stream_settings import WatchSettings, WindowSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, make_settings, read_mapping

# Where documents are read from, line by line, as they are typed or piped.
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class StreamRecipe:
    """What `clozekit stream` is told.

    tokenizer: a directory that `clozekit vocab` made. output: where the stream goes. reading: which folders, globs or prefixes
    are watched, or "-", and how documents are found in files.
    """

    tokenizer: str
    output: str
    reading: ReadSettings
    corpus: CorpusSettings
    rows: PrepareSettings
    windows: WindowSettings
    watch: WatchSettings


def load_stream_recipe(path: str, changes: Sequence[str]) -> StreamRecipe:
    """The recipe in the YAML file at `path`, with `changes` such as "stream.window_seconds=60" on top.

    Raises InputError naming the key for one that is unknown, missing or of another type, and for what only datasets have.
    """
    fields = read_mapping(path, of="sections")
    apply_changes(fields, changes, example="stream.window_seconds=60")
    return make_stream_recipe(fields, path)


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
        recipe.tokenizer, recipe.output, recipe.reading, recipe.corpus, recipe.rows.options(), made_windows, watch
    )
