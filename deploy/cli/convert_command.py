"""`clozekit convert`: a preset into another library's layout, or into a SavedModel, ONNX or LiteRT."""

import argparse
import dataclasses
import sys
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.preset_formats import PRESET_FORMATS
from clozekit.deploy.quiet_loading import load_tensorflow

ANSWER = JsonAnswer(("target", "format", "what", "notes", "load_with"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "convert",
        "Turn a preset into another library's, or into a SavedModel, ONNX or LiteRT.",
        "clozekit convert hf://google-bert/bert-base-uncased bert-base --to clozekit\n"
        "  clozekit convert run/step-800 run/step-900 run/step-1000 averaged --to clozekit",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SRC",
        help=f"{PRESET_HELP}; several of one model: the mean of their weights",
    )
    parser.add_argument("target", metavar="DST", help="where it goes: a new directory, an old preset, or a URL (gs://)")
    parser.add_argument(
        "--to",
        choices=list(PRESET_FORMATS),
        required=True,
        help="; ".join(f"{name}: {what}" for name, what in PRESET_FORMATS.items()),
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run, rest="sources", last="target")


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from clozekit.deploy.convert import convert as convert_preset

    source, *more = arguments.sources
    converted = convert_preset(source, arguments.target, arguments.to, more)
    if arguments.json:
        ANSWER.show(target=arguments.target, format=arguments.to, **dataclasses.asdict(converted))
        return
    for note in converted.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{converted.what}, from {', '.join(arguments.sources)} to {arguments.target}\n{converted.load_with}")
