"""`clozekit compact`: a stream, or its last windows, as one ordinary dataset."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.datasets_answer import ANSWER, show_datasets
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.deploy.cli.running_options import add_running_options, running, running_settings
from clozekit.pipelines.settings.compact_settings import CompactSettings

COMPACT = OptionTable(CompactSettings)


def add(commands: Any) -> None:
    parser = command(
        commands,
        "compact",
        "Make one ordinary dataset of a stream: deduplicated and shuffled over all of its windows.",
        "clozekit compact stream --output dataset\n"
        "  clozekit compact stream --output week --since 2026-11-22 --deduplicate near --sequence-length 128 512",
        "clozekit compact STREAM --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
        needs=("pipelines",),
    )
    parser.add_argument("stream", metavar="STREAM", help="what `clozekit stream` made")
    parser.add_argument("--output", required=True, metavar="DIRECTORY", help="where the dataset goes")
    COMPACT.add_to(parser.add_argument_group("which windows, and how"))
    ANSWER.add_to(parser)
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    settings, how = COMPACT.settings_from(arguments), running_settings(arguments)
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.streaming.compact import compact

    results = compact(arguments.stream, arguments.output, settings, **running(how))
    show_datasets(results, arguments.json, "already compacted from these windows with these settings; nothing to do")
