"""How every verb of the command is set up: its summary, its usage, its example."""

import argparse
from collections.abc import Sequence
from typing import Any

PRESET_HELP = (
    "a directory, a run (run, run/best, run/step-500), a built-in name (bert_base_en) or a handle (hf://org/model)"
)


def command(
    commands: Any, name: str, summary: str, example: str, usage: str | None = None, needs: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """needs: the extras without which it is refused."""
    parser = commands.add_parser(
        name,
        usage=usage,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # `clozekit vocab --debug` as well as `clozekit --debug vocab`.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    # `verb`: who says that an option is unknown; argparse itself lets the whole command say it, with the usage of all.
    parser.set_defaults(needs=needs, verb=parser)
    return parser
