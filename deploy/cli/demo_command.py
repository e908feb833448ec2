"""`clozekit demo`: everything once, on text that every machine with Clozekit holds."""

import argparse
from pathlib import Path
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.running_options import load_beam_for_here
from clozekit.tokenizers.common.errors import InputError


def add(commands: Any) -> None:
    parser = command(
        commands,
        "demo",
        "Corpus, vocabulary, dataset, training, filled masks: everything once.",
        "clozekit demo\n  clozekit demo --stream --minutes 2",
        needs=("pipelines", "training"),
    )
    parser.add_argument(
        "--directory",
        default=None,
        help="where everything goes (default: clozekit-demo, clozekit-stream-demo with --stream)",
    )
    parser.add_argument(
        "--steps", type=int, default=None, help="training steps, to look around sooner (default: the full demo)"
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="text dropped into a folder, a stream that takes it in, a run that follows",
    )
    parser.add_argument(
        "--minutes", type=float, default=None, help="with --stream: for how long text is dropped (default: 4)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    directory = arguments.directory or ("clozekit-stream-demo" if arguments.stream else "clozekit-demo")
    if arguments.stream:
        if arguments.steps is not None:
            raise InputError("--steps is for the demo without --stream, got both; pass --minutes")
        from clozekit.deploy.demo.stream_demo import run_stream_demo

        run_stream_demo(Path(directory), arguments.minutes)
        return
    if arguments.minutes is not None:
        raise InputError("--minutes is for the demo with --stream, got it alone; pass --steps")
    load_beam_for_here(arguments)
    from clozekit.deploy.demo.run_demo import run_demo

    run_demo(Path(directory), arguments.steps)
