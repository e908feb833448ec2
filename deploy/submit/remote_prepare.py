"""A `prepare` that runs elsewhere: what it was told, read once; handed to a runner that leaves; looked at when it is done."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozekit.deploy.submit.backend import CommandLine
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.job_state import SUCCEEDED, JobState
from clozekit.deploy.submit.submit_errors import JobFailedError
from clozekit.pipelines.settings.recipe import Recipe
from clozekit.pipelines.settings.running_settings import RunningSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import read_text


@dataclass(frozen=True)
class PrepareCommand:
    """words: `prepare` and its arguments; recipe, running: what they mean, read once; config: the text of the recipe's file;
    line: what runs them. It builds the graph here; nothing is read by it but names and sizes of the inputs, and the
    tokenizer."""

    words: tuple[str, ...]
    recipe: Recipe
    running: RunningSettings
    config: str | None
    line: CommandLine


def prepare_command(job: Job, words: Sequence[str], line: CommandLine, backend: str, runner: str) -> PrepareCommand:
    """The command for `backend`, whose Beam runner is `runner`.

    Raises InputError for any other command than prepare, and for what `prepare` would refuse.
    """
    if job.accelerators is not None:
        raise InputError(f"prepare uses no accelerators, got accelerators for {backend}; leave the key out")
    if not words or words[0] != "prepare":
        raise InputError(
            f"{backend} runs `prepare`, got {shlex.join(words) or 'no command'}; write it behind `--`, as in: clozekit"
            f" submit {backend} job.yaml -- prepare --input 'gs://bucket/docs/*' ..."
        )
    if job.output is not None:
        # Before a `--` with Beam's own options.
        words = ["prepare", "--output", job.output, *without_option(words[1:], "--output")]
    recipe, running = line.prepare_order(words)
    if running.runner not in (None, runner):
        raise InputError(f"--runner must be left out of what is submitted to {backend}, got {running.runner}")
    config = None if recipe.file is None else read_text(recipe.file)
    return PrepareCommand(tuple(words), recipe, running, config, line)


def check_places(command: PrepareCommand, workers: str, has_image: bool, mounted: Sequence[str] = ()) -> None:
    """Raises InputError unless all that is read and written is where the workers reach it.

    workers: whose they are, for the message; has_image: a tokenizer may be in their image; mounted: folders of a volume.
    """
    recipe = command.recipe
    reads = [place for source in recipe.reading.all_sources for place in source.inputs]
    reads += recipe.corpus.decontaminate.inputs

    def is_reached(place: str) -> bool:
        return "://" in place or any(place.startswith(f"{path.rstrip('/')}/") for path in mounted)

    for option, place in [("inputs", place) for place in reads] + [("--output", recipe.output)]:
        if not is_reached(place):
            raise InputError(
                f"{option} must be where {workers} workers reach it (gs://bucket/...), got {place!r}; copy it there"
            )
    in_image = has_image and Path(recipe.tokenizer).is_absolute()
    if not is_reached(recipe.tokenizer) and not in_image:
        raise InputError(
            f"--tokenizer must be where {workers} workers reach it: gs://bucket/..., or an absolute path that the image"
            f" has too, got {recipe.tokenizer!r}"
        )


def without_option(words: Sequence[str], name: str) -> list[str]:
    """`words` without the option `name` and its one value, in either spelling."""
    kept, skip = [], False
    for word in words:
        if skip or word == name:
            skip = not skip
        elif not word.startswith(f"{name}="):
            kept.append(word)
    return kept


def hand_over(
    recipe: Recipe,
    running: RunningSettings,
    runner: str,
    module: str,
    beam_words: Sequence[str],
    only_shown: bool = False,
) -> Any:
    """Runs `prepare` with a runner that leaves when the job is sent, or shown: the class `runner` of the file `module` here.

    Returns what that runner gives; None when the datasets are there already.
    """
    from clozekit.deploy.submit.handed_over import HandedOver
    from clozekit.pipelines.prepare import prepare_lengths

    leaving = f"--runner=clozekit.deploy.submit.{module}.{runner}"
    try:
        prepare_lengths(
            recipe.reading,
            recipe.rows.options(),
            recipe.rows.sequence_length,
            recipe.tokenizer,
            recipe.output,
            runner=runner,
            num_workers=running.num_workers,
            # The last of several runners counts; the dataset says that Beam's own made it, as it did.
            beam_arguments=[*beam_words, *running.beam_arguments, leaving],
            overwrite=running.overwrite,
            corpus=recipe.corpus,
            only_shown=only_shown,
        )
    except HandedOver as handed:
        return handed.result
    return None


def dataset_is_there(job: Job, fingerprint: str) -> JobState:
    """How a job stands that nobody had to send."""
    return JobState(job.name, "", SUCCEEDED, "the dataset is there, of these inputs and settings", fingerprint, "")


def finish(job: Job, command: PrepareCommand) -> None:
    """Looks at the dataset that is done, as `prepare` does: writes its report, says what it holds."""
    from clozekit.pipelines.dataset.manifest import has_manifest
    from clozekit.pipelines.storage.files import join

    recipe, lengths = command.recipe, command.recipe.rows.sequence_length
    folders = [recipe.output] if len(lengths) == 1 else [join(recipe.output, str(length)) for length in lengths]
    for folder in folders:
        # What is missing would be made here, on this machine.
        if not has_manifest(folder):
            raise JobFailedError(f"{job.name} is done, and there is no dataset in {folder}; look for who removed it")
    command.line.prepare(recipe, command.running)
