"""A stream that an engine elsewhere reads and freezes: its recipe, read once; its graph, handed to a runner that leaves."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.submit.backend import CommandLine
from clozekit.deploy.submit.job_spec import Job
from clozekit.pipelines.settings.stream_recipe import StreamRecipe
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import read_text


@dataclass(frozen=True)
class StreamCommand:
    """words: `stream` and its arguments; recipe: what they mean, read once; config: the text of the recipe's file."""

    words: tuple[str, ...]
    recipe: StreamRecipe
    config: str


def stream_command(
    job: Job, words: Sequence[str], line: CommandLine, engine: str, kinds: Sequence[str]
) -> StreamCommand:
    """The command. Raises InputError for what `stream` would refuse, and for sources of other kinds than the engine reads."""
    changes = [] if job.output is None else [f"output={job.output}"]
    recipe = line.stream_order([*words, *changes])
    if recipe.source.kind not in kinds:
        raise InputError(
            f"a stream on {engine} reads from a source.kind of {' or '.join(kinds)}, got {recipe.source.kind}; follow it with"
            " `clozekit stream` on one machine"
        )
    return StreamCommand((*words, *changes), recipe, read_text(words[1]))


def check_stream_places(command: StreamCommand, workers: str, mounted: Sequence[str] = ()) -> None:
    """Raises InputError unless the workers reach what is read and written. workers: whose they are, for the message; mounted: folders
    of a volume. (The tokenizer is copied into the stream by who sends it.)"""
    recipe = command.recipe
    # Those of messages are no places.
    inputs = recipe.reading.inputs if recipe.source.kind == "files" else ()
    for option, place in [("output", recipe.output), *(("inputs", place) for place in inputs)]:
        if "://" not in place and not any(place.startswith(f"{path.rstrip('/')}/") for path in mounted):
            raise InputError(
                f"{option} must be where {workers} workers reach it (gs://bucket/...), got {place!r}; name a bucket"
            )


def is_stream(words: Sequence[str]) -> bool:
    """Whether the words are a `stream` that follows a recipe."""
    return len(words) > 1 and words[0] == "stream"


def hand_over_stream(recipe: StreamRecipe, runner: str, module: str, beam_words: Sequence[str]) -> Any:
    """Begins the stream and gives its first half, up to the frozen panes, to the class `runner` of the file `module` here, which
    leaves. Returns what that gives."""
    import apache_beam as beam

    from clozekit.deploy.submit.handed_over import HandedOver
    from clozekit.pipelines.running.view_options import ViewOptions
    from clozekit.pipelines.streaming.follow_recipe import source_of
    from clozekit.pipelines.streaming.stage_a import freeze_source

    options = ViewOptions([*beam_words, "--streaming", f"--runner=clozekit.deploy.submit.{module}.{runner}"])
    try:
        with beam.Pipeline(options=options) as root:
            freeze_source(root, recipe, source_of(recipe))
    except HandedOver as handed:
        return handed.result
    raise RuntimeError(f"{shlex.join(beam_words)} ran without being handed over")
