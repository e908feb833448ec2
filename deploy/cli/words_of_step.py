"""The command line of a step, refused before any step has begun where its command or its platform would refuse it."""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clozekit.deploy.cli.submit_command import command_line
from clozekit.deploy.cli.words_of_block import check_command, words_of_block
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.platforms import load_backend
from clozekit.deploy.workflow.workflow_file import Step
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import MissingExtraError, require_extras


def words_of_step(
    parser: argparse.ArgumentParser,
    parse: Callable[[Sequence[str]], Any],
    is_run_here: bool,
    step: Step,
    block: Mapping[str, object],
    job: Job | None,
) -> list[str]:
    """The words that stand for settings that go into no file.

    is_run_here: what the step or its submission needs must be installed here. block: its settings without references. job: where
    it runs elsewhere. Raises InputError, MissingExtraError.
    """
    kind = step.kind
    keys = kind.file_keys
    in_file = {key: value for key, value in block.items() if keys is None or key in keys}
    words: list[str] = []
    if keys is not None:
        words = words_of_block(parser, parse, step.verb, {key: block[key] for key in block if key not in in_file})
    with tempfile.TemporaryDirectory(prefix="clozekit-step-") as folder:
        file = str(Path(folder) / "settings.yaml")
        whole = [step.verb, *words]
        if in_file or keys is None:
            Path(file).write_text(yaml.safe_dump(in_file, sort_keys=False, allow_unicode=True), encoding="utf-8")
            whole += [file] if keys is None else [kind.file_option, file]
        whole += step.options
        try:
            arguments = check_command(parse, whole)
            if (settings_of := getattr(arguments, "settings_of", None)) is not None:
                settings_of(arguments)
            if job is not None:
                _check_job(str(step.where["platform"]), job, whole, parse, is_run_here)
        except MissingExtraError:
            raise
        except InputError as error:
            raise InputError(f"step {step.name}: {str(error).replace(file, 'its settings')}") from error
    if job is None and is_run_here:
        require_extras(f"step {step.name}", *arguments.needs)
    return words


def _check_job(
    platform: str, job: Job, words: list[str], parse: Callable[[Sequence[str]], Any], is_run_here: bool
) -> None:
    try:
        backend = load_backend(platform)
    except MissingExtraError:
        if is_run_here:
            raise
        # Whoever runs the step has it.
        return
    backend.command(job, words, command_line(parse))
