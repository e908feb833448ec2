"""`clozekit costs`: machine hours by formula."""

import argparse
import dataclasses
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.deploy.cost_settings import Costs, CostSettings

COSTS = OptionTable(CostSettings)
ANSWER = JsonAnswer(("settings", *(field.name for field in dataclasses.fields(Costs))))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "costs",
        "Estimate the machine hours of preparing a corpus and pretraining on it, by formula (deploy/COSTS.md).",
        "clozekit costs --corpus-gb 100 --model bert_base_en_uncased --epochs 10 --accelerator a100 --num-accelerators 8",
    )
    COSTS.add_to(parser)
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.costs import describe, estimate

    options = COSTS.settings_from(arguments)
    costs = estimate(options)
    if arguments.json:
        ANSWER.show(settings=dataclasses.asdict(options), **dataclasses.asdict(costs))
    else:
        print("\n".join(describe(options, costs)))
