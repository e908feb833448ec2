"""What `clozekit run --export` does: the recipe as a file for another orchestrator, after a check of all of it."""

import argparse
from typing import TYPE_CHECKING

from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.deploy.workflow.exported_tasks import ExportedRecipe
    from clozekit.deploy.workflow.plan_steps import WordsOf
    from clozekit.deploy.workflow.workflow_file import Workflow

FORMATS = ("kfp", "argo")


def check_options(arguments: argparse.Namespace) -> None:
    """Raises InputError for options of `run` that do not go together."""
    if arguments.export is None:
        alone = [name for name in ("to", "image", "volume") if getattr(arguments, name)]
        if alone:
            raise InputError(f"--{alone[0]} belongs to --export, which is not given; add --export {'|'.join(FORMATS)}")
    elif arguments.to is None:
        raise InputError("--export writes a file, --to does not name one; add --to FILE.yaml")
    others = [name for name in ("only", "dry_run", "keep_going") if getattr(arguments, name)]
    if arguments.export is not None and others:
        raise InputError(f"--export runs nothing, got --{others[0].replace('_', '-')} with it; leave one of them out")
    if arguments.only is not None and arguments.until is not None:
        raise InputError("--only runs one step, --until those before it too, got both; leave one of them out")


def export(workflow: "Workflow", arguments: argparse.Namespace, words_of: "WordsOf") -> "ExportedRecipe":
    """Writes the file, and returns what is in it."""
    from clozekit.deploy.cli.result_file import check_own_file
    from clozekit.deploy.workflow.exported_tasks import exported
    from clozekit.deploy.workflow.pipeline_text import MARK, pipeline_text
    from clozekit.tokenizers.storage.file_systems import write_text

    volumes = dict(_volume(word) for word in arguments.volume or ())
    made = exported(workflow, arguments.until, arguments.image, volumes, words_of)
    text = pipeline_text(made, arguments.export)
    check_own_file("--to", "a pipeline", arguments.to, "run --export", lambda text: text.startswith(MARK))
    write_text(arguments.to, text)
    return made


def _volume(word: str) -> tuple[str, str]:
    claim, equals, path = word.partition("=")
    if not equals:
        raise InputError(f"--volume must be CLAIM=/PATH, got {word}; as in --volume data=/mnt/data")
    return claim, path
