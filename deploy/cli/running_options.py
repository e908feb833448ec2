"""The options of every verb that runs on Beam: which runner, how many workers, and what replaces what."""

import argparse
from typing import Any

# Verbs of which what stands behind `--` is Beam's.
HAS_BEAM_OPTIONS = ("vocab", "prepare", "export")


def add_running_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--runner", default=None, help="a Beam runner such as DataflowRunner (default: in this process)")
    group.add_argument("--num-workers", type=int, default=1, help="local worker processes (default: %(default)s)")
    group.add_argument("--overwrite", action="store_true", help="replace what an earlier run with other settings left")
    group.description = "Options of the runner stand behind `--`, at the end."


def running(arguments: argparse.Namespace) -> dict[str, Any]:
    from clozekit.pipelines.running.runners import LOCAL_RUNNER

    return {
        "runner": arguments.runner or LOCAL_RUNNER,
        "num_workers": arguments.num_workers,
        "beam_arguments": arguments.beam,
        "show_progress": True,
    }
