"""The parser of the command: every verb with its options, in the order in which `--help` lists them."""

import argparse
import functools
import sys
from collections.abc import Sequence

from clozekit.deploy.cli import (
    adapt_command,
    bench_command,
    compact_command,
    compare_command,
    convert_command,
    costs_command,
    demo_command,
    doctor_command,
    evaluate_command,
    export_command,
    fill_command,
    finetune_command,
    inspect_command,
    lineage_command,
    predict_command,
    prepare_command,
    publish_command,
    recipes_command,
    run_command,
    stream_command,
    submit_command,
    train_command,
    verify_command,
    vocab_command,
    watch_command,
)
from clozekit.deploy.cli.argument_rules import check_arguments, check_words
from clozekit.deploy.cli.running_options import HAS_BEAM_OPTIONS

# A verb is added by its own file and a line here.
VERBS = (
    demo_command,
    vocab_command,
    prepare_command,
    inspect_command,
    verify_command,
    export_command,
    stream_command,
    compact_command,
    train_command,
    watch_command,
    compare_command,
    adapt_command,
    convert_command,
    lineage_command,
    publish_command,
    fill_command,
    evaluate_command,
    finetune_command,
    predict_command,
    recipes_command,
    run_command,
    doctor_command,
    bench_command,
    costs_command,
    submit_command,
)


class _ShowVersion(argparse.Action):
    """Looks the version up when it is asked for: that takes as long as all of Python's start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import importlib.metadata

        print(f"clozekit {importlib.metadata.version('clozekit')}")
        parser.exit()


@functools.cache
def build_parser() -> argparse.ArgumentParser:
    """Built once: it takes longer than to ask it, and a sweep has as many command lines as steps of trials."""
    parser = argparse.ArgumentParser(
        prog="clozekit",
        description="From raw text to a pretrained masked language model.",
        epilog="Exit status: 0 done; 2 the input or an option breaks a rule (one line says which);"
        " 3 an extra of Clozekit is not installed; 130 interrupted by"
        " Ctrl-C, 143 stopped by SIGTERM; 75 `train`, `finetune`, `adapt`, `stream` or `run` was stopped by SIGTERM or SIGUSR1 and has saved everything, 76 it has"
        " lost another worker: in all these cases the same command goes on; 69 a store is out of reach; `submit`: 65 refused, 66 bucket, 69 out of reach, 73 name taken, 77 credentials, 78 project, region or zone;"
        " 1 any other failure.",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error and the libraries' messages"
    )
    parser.add_argument(
        "--version",
        action=_ShowVersion,
        nargs=0,
        default=argparse.SUPPRESS,
        help="say the version",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for verb in VERBS:
        verb.add(commands)
    # What `submit` sends is a command too, and a step of `run`.
    parser.set_defaults(parse=parse, parser=parser, own_process=False)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; what a command takes any number of may also stand behind an option, which argparse alone refuses. `rest`
    of a command names them, `last` what comes after them."""
    given = sys.argv[1:] if argv is None else argv
    check_words(given)
    words, behind = split_at_dashes(given)
    arguments, extra = build_parser().parse_known_args(words)
    arguments.behind = behind
    rest = getattr(arguments, "rest", None)
    if extra and (rest is None or any(argument.startswith("-") for argument in extra)):
        arguments.verb.error(f"unrecognized arguments: {' '.join(extra)}")
    if extra:
        last = getattr(arguments, "last", None)
        if last is not None:
            *extra, target = getattr(arguments, last), *extra
            setattr(arguments, last, target)
        getattr(arguments, str(rest)).extend(extra)
    check_arguments(arguments)
    return arguments


def split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of this command, and those behind `--`: Beam's options, or what another machine runs. All of them are its
    own where the command has neither."""
    verb = next((word for word in words if not word.startswith("-")), None)
    if "--" not in words or verb not in (*HAS_BEAM_OPTIONS, "submit"):
        return list(words), []
    place = list(words).index("--")
    return list(words[:place]), list(words[place + 1 :])
