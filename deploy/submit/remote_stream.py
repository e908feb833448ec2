"""A stream that an engine in a cloud reads and freezes: its recipe, read once; its graph, handed to a runner that leaves."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.submit.backend import CommandLine
from clozekit.deploy.submit.job_spec import Job
from clozekit.pipelines.settings.stream_recipe import StreamRecipe
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import read_text

# What many workers can read at once, and be told that it was read.
_KINDS = ("pubsub", "kafka")


@dataclass(frozen=True)
class StreamCommand:
    """words: `stream` and its arguments; recipe: what they mean, read once; config: the text of the recipe's file."""

    words: tuple[str, ...]
    recipe: StreamRecipe
    config: str


def stream_command(job: Job, words: Sequence[str], line: CommandLine) -> StreamCommand:
    """The command. Raises InputError for what `stream` would refuse, and for what no worker of a cloud could read or write."""
    changes = [] if job.output is None else [f"output={job.output}"]
    recipe = line.stream_order([*words, *changes])
    if recipe.source.kind not in _KINDS:
        raise InputError(
            f"a stream on Dataflow reads messages (source.kind {' or '.join(_KINDS)}), got"
            f" {recipe.source.kind}; follow folders and standard input with `clozekit stream` on one machine"
        )
    if "://" not in recipe.output:
        raise InputError(
            f"output must be where Dataflow's workers reach it (gs://bucket/...), got {recipe.output!r}; name a bucket"
        )
    if job.provisioning != "standard":
        raise InputError(
            f"a stream runs on standard machines, Dataflow has no others for it, got provisioning {job.provisioning}"
        )
    return StreamCommand((*words, *changes), recipe, read_text(words[1]))


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
