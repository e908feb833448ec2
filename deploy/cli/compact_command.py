"""`clozekit compact`: a stream, or its last windows, as one ordinary dataset; or its windows as one fragment of it."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.datasets_answer import ANSWER, show_datasets
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.deploy.cli.running_options import RUNNING, add_running_options, running, running_settings
from clozekit.pipelines.settings.compact_settings import CompactSettings, ReplaceSettings
from clozekit.tokenizers.common.errors import InputError

COMPACT = OptionTable(CompactSettings)
# --until is of both.
REPLACE = OptionTable(ReplaceSettings, without=("until",))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "compact",
        "Make one ordinary dataset of a stream: deduplicated and shuffled over all of its windows; or one fragment of its windows.",
        "clozekit compact stream --output dataset\n"
        "  clozekit compact stream --replace --until 2026-11-22\n"
        "  clozekit compact stream --output week --since 2026-11-22 --deduplicate near --sequence-length 128 512",
        "clozekit compact STREAM --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]\n"
        "       clozekit compact STREAM --replace [--until TIME] [--max-tokens N]",
        needs=("pipelines",),
    )
    parser.add_argument("stream", metavar="STREAM", help="what `clozekit stream` made")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--output", metavar="DIRECTORY", help="where the dataset goes")
    where.add_argument(
        "--replace",
        action="store_true",
        help="make one fragment of the stream itself, which stands for the windows whose rows it holds; of the options below it"
        " takes --until and --max-tokens",
    )
    COMPACT.add_to(parser.add_argument_group("which windows, and how"))
    REPLACE.add_to(parser.add_argument_group("of --replace"))
    ANSWER.add_to(parser)
    add_running_options(parser)
    parser.set_defaults(run=run, settings_of=settings_of)


def settings_of(arguments: argparse.Namespace) -> CompactSettings | ReplaceSettings:
    """Which windows, and how."""
    if arguments.replace:
        return _settings_of_replace(arguments)
    if REPLACE.given(arguments)["max_tokens"] is not None:
        raise InputError("--max-tokens is for --replace, got it without; leave it out")
    settings: CompactSettings = COMPACT.settings_from(arguments)
    return settings


def run(arguments: argparse.Namespace) -> None:
    settings, how = settings_of(arguments), running_settings(arguments)
    if isinstance(settings, ReplaceSettings):
        _replace(arguments.stream, settings)
        return
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.streaming.compact import compact

    results = compact(arguments.stream, arguments.output, settings, **running(how))
    show_datasets(results, arguments.json, "already compacted from these windows with these settings; nothing to do")


def _settings_of_replace(arguments: argparse.Namespace) -> ReplaceSettings:
    given = {**COMPACT.given(arguments), **RUNNING.given(arguments), "json": arguments.json}
    others = [name for name, value in given.items() if value and name != "until"]
    if others:
        raise InputError(
            f"--replace keeps the stream's settings and documents, got --{others[0].replace('_', '-')}; leave it out, or pass"
            " --output"
        )
    settings: ReplaceSettings = REPLACE.settings_from(arguments, until=arguments.until)
    return settings


def _replace(stream: str, settings: ReplaceSettings) -> None:
    from clozekit.pipelines.streaming.compact_windows import compact_windows
    from clozekit.pipelines.streaming.stream_metrics import describe_fragment

    fragment = compact_windows(stream, settings)
    print(
        "fewer than two windows that were not compacted yet; nothing to do"
        if fragment is None
        else describe_fragment(fragment)
    )
