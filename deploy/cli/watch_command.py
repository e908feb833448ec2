"""`clozekit watch`: follows a run from another terminal, until it ends."""

import argparse
import shutil
import sys
import time
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.tokenizers.common.errors import InputError

ANSWER = JsonAnswer(
    ("name", "directory", "kind", "state", "verdict", "step", "last_step", "saved_step", "silent_seconds", "latest")
)
_CLEAR = "\x1b[H\x1b[2J"


class RunEndedError(RuntimeError):
    """The run that was watched has ended, and not at its end."""

    exit_status = 1


def add(commands: Any) -> None:
    parser = command(
        commands,
        "watch",
        "Follow a run from another terminal until it ends: how far it is, its losses, and whether it still is at work.",
        "clozekit watch run\n  clozekit watch run --once",
    )
    parser.add_argument("directory", metavar="RUN", help="the directory of the run, of `train` or of `finetune`")
    parser.add_argument("--once", action="store_true", help="show it once, also where it is no longer at work")
    ANSWER.add_to(parser)
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look, 2 if not given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    if not 0.1 <= arguments.every <= 3600:
        raise InputError(f"--every must be from 0.1 to 3600 seconds, got {arguments.every:g}")
    load_tensorflow()
    from clozekit.model.training.reports.watch_screen import described, hangs, screen, verdict
    from clozekit.model.training.run_directory.run_state import FINISHED, RUNNING, read_run

    watched = read_run(arguments.directory)
    if arguments.json:
        # Once: a document is not followed.
        latest = {kind: watched.of_kind(kind)[-1] for kind in ("train", "validation") if watched.of_kind(kind)}
        ANSWER.show(
            name=watched.name,
            directory=watched.directory,
            kind=watched.kind,
            state=watched.state,
            verdict=verdict(watched),
            step=watched.step,
            last_step=watched.last_step,
            saved_step=watched.saved_step,
            silent_seconds=watched.silent_seconds,
            latest=latest,
        )
        return
    if arguments.once:
        print("\n".join(screen(watched, shutil.get_terminal_size().columns)))
        return
    terminal, shown, said = sys.stdout.isatty(), 0, False
    while True:
        if terminal:
            print(_CLEAR + "\n".join(screen(watched, shutil.get_terminal_size().columns)), flush=True)
        else:
            # A run that went back has dropped lines: then all that is new is behind its last step.
            shown = min(shown, len(watched.entries))
            for entry in watched.entries[shown:]:
                print(described(entry), flush=True)
            shown = len(watched.entries)
            if hangs(watched) != said:
                said = not said
                print(verdict(watched), flush=True)
        if watched.state != RUNNING:
            break
        time.sleep(arguments.every)
        watched = read_run(arguments.directory)
    if watched.state != FINISHED:
        raise RunEndedError(verdict(watched))
    if not terminal:
        print(verdict(watched))
