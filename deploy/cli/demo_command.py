"""`clozekit demo`: everything once, on text that every machine with Clozekit holds."""

import argparse
from pathlib import Path
from typing import Any

from clozekit.deploy.cli.command import command


def add(commands: Any) -> None:
    parser = command(
        commands,
        "demo",
        "Corpus, vocabulary, dataset, training, filled masks: everything once.",
        "clozekit demo",
        needs=("pipelines", "training"),
    )
    parser.add_argument("--directory", default="clozekit-demo", help="where everything goes (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=None, help="training steps, to look around sooner (default: the full demo)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.demo.run_demo import run_demo

    run_demo(Path(arguments.directory), arguments.steps)
