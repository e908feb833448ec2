"""`clozekit submit`: runs prepare, stream or train on another machine."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.field_descriptions import descriptions_of
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.deploy.submit.platforms import PLATFORMS
from clozekit.deploy.submit.submit_settings import SubmitSettings
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.deploy.submit.backend import CommandLine

_ARGUMENTS = ("backend", "job", "changes", "action", "words")
SUBMIT = OptionTable(SubmitSettings, without=(*_ARGUMENTS, "json"))
STATUS = OptionTable(SubmitSettings, without=(*_ARGUMENTS, "dry_run"))


def add(commands: Any) -> None:
    submit = command(
        commands,
        "submit",
        "Run prepare, stream or train elsewhere: on Dataflow, Flink, Spark, Vertex AI, Kubernetes, TPU VMs or Slurm.",
        "clozekit submit vertex job.yaml --dry-run -- train config.yaml\n"
        "  clozekit submit status vertex job.yaml\n"
        "  clozekit submit cancel vertex job.yaml",
    )
    actions = submit.add_subparsers(dest="action", required=True, metavar="WHERE")
    for backend, platform in PLATFORMS.items():
        parser = command(
            actions, backend, f"{platform.summary}.", f"clozekit submit {backend} job.yaml {platform.example}"
        )
        parser.usage = f"clozekit submit {backend} JOB.YAML [KEY=VALUE ...] [--dry-run] [--wait] -- COMMAND ..."
        _add_job(parser)
        SUBMIT.add_to(parser.add_mutually_exclusive_group())
        parser.set_defaults(backend=backend, action="submit")
    for action, summary in (("status", "Say how a job stands."), ("cancel", "Stop a job.")):
        parser = command(actions, action, summary, f"clozekit submit {action} vertex job.yaml")
        parser.add_argument("backend", choices=PLATFORMS, metavar="WHERE", help=", ".join(PLATFORMS))
        _add_job(parser)
        if action == "status":
            STATUS.add_to(parser.add_mutually_exclusive_group())

    submit.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.submit.submit_job import submit

    table = STATUS if arguments.action == "status" else SUBMIT
    asked = table.settings_from(
        arguments,
        backend=arguments.backend,
        job=arguments.job,
        changes=tuple(arguments.changes),
        action=arguments.action,
        words=tuple(arguments.behind),
    )
    submit(asked, command_line(arguments.parse))


def command_line(parse: Callable[[Sequence[str]], argparse.Namespace]) -> "CommandLine":
    """What `submit` may ask of the other verbs."""
    from clozekit.deploy.cli.prepare_command import prepare, prepare_order
    from clozekit.deploy.cli.stream_command import stream_order
    from clozekit.deploy.cli.train_command import train_order
    from clozekit.deploy.submit.backend import CommandLine

    def parsed(words: Sequence[str]) -> argparse.Namespace:
        arguments = parse(words)
        if arguments.json:
            raise InputError(f"--json is for what runs here, {words[0]} is submitted with it; leave it out")
        return arguments

    return CommandLine(
        lambda words: prepare_order(parsed(words)),
        prepare,
        lambda words: train_order(parsed(words)),
        lambda words: stream_order(parsed(words)),
    )


def _add_job(parser: argparse.ArgumentParser) -> None:
    described = descriptions_of(SubmitSettings)
    parser.add_argument("job", metavar="JOB.YAML", help=described.get("job"))
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help=described.get("changes"))
    parser.set_defaults(rest="changes")
