"""The options of the commands that look at machines and reckon what they cost."""

from collections.abc import Callable
from typing import Any

CLOUD_COMMANDS = ("doctor",)


def add_cloud_commands(commands: Any, command: Callable[..., Any]) -> None:
    doctor = command(
        commands,
        "doctor",
        "Look at this machine, its cluster and its storage; each red line says what to do.",
        "clozekit doctor\n  clozekit doctor --bucket gs://bucket/runs --dataset gs://bucket/dataset --preset bert_base_en",
    )
    doctor.add_argument("--bucket", metavar="URL", help="list, write, read and delete a probe below it")
    doctor.add_argument("--dataset", metavar="DATASET", help="is it there, are its shards of the right size?")
    doctor.add_argument("--preset", metavar="PRESET", help="does it load?")
    doctor.add_argument("--directory", default=".", help="where to look for free disk (default: here)")
    doctor.add_argument(
        "--constraints", metavar="FILE", help="the tested versions (default: constraints.txt beside the code)"
    )
    doctor.add_argument("--json", action="store_true", help="a JSON list of all findings")
