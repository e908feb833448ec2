"""`clozekit lineage`: says what a preset came from, link by link, and checks what of it is here."""

import argparse
import dataclasses
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.tokenizers.common.errors import InputError

ANSWER = JsonAnswer(("preset", "whole", "lineage", "checked", "not_checked", "problems"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "lineage",
        "Say by hash which checkpoint, run, dataset, tokenizer, recipe, code and corpus a preset came from, and check it.",
        "clozekit lineage run/preset --run run --dataset dataset",
    )
    parser.add_argument("preset", metavar="PRESET", help=f"{PRESET_HELP}; in any layout that `convert` writes")
    parser.add_argument(
        "--run",
        dest="runs",
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="check that this is a run of its chain, and the checkpoint that it is of; may be repeated",
    )
    parser.add_argument(
        "--dataset",
        dest="datasets",
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="check that this is a dataset or a stream of its chain; may be repeated (`verify` checks a dataset itself)",
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.check_lineage import check_lineage
    from clozekit.deploy.describe_lineage import lineage_lines

    found = check_lineage(arguments.preset, arguments.runs, arguments.datasets)
    if arguments.json:
        ANSWER.show(
            preset=arguments.preset,
            whole=not found.problems,
            lineage={"sha256": found.lineage.sha256, "links": found.lineage.own_links()},
            checked=found.checked,
            not_checked=found.not_checked,
            problems=[dataclasses.asdict(problem) for problem in found.problems],
        )
    else:
        print("\n".join([*lineage_lines(found.lineage), *map(str, found.problems)]))
    if found.problems:
        number = len(found.problems)
        raise InputError(
            f"a preset and what it came from must be what its lineage says, {arguments.preset} is not in"
            f" {number} {'link' if number == 1 else 'links'} (above); copy it again, or name the folders that it came from"
        )
    if not arguments.json:
        print("\n".join(f"as it says: {one}" for one in found.checked))
        print("".join(f"not checked: {one}\n" for one in found.not_checked), end="")
