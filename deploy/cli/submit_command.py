"""`clozekit submit`: runs prepare or train on another machine."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.submit.platforms import PLATFORMS


def add(commands: Any) -> None:
    submit = command(
        commands,
        "submit",
        "Run prepare or train elsewhere: on Dataflow, Vertex AI, Kubernetes, TPU VMs or Slurm.",
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
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--dry-run", action="store_true", help="submit nothing: print the exact manifest or request")
        group.add_argument("--wait", action="store_true", help="follow the job and its log until it ends")
        parser.set_defaults(backend=backend)
    for action, summary in (("status", "Say how a job stands."), ("cancel", "Stop a job.")):
        parser = command(actions, action, summary, f"clozekit submit {action} vertex job.yaml")
        parser.add_argument("backend", choices=PLATFORMS, metavar="WHERE", help=", ".join(PLATFORMS))
        _add_job(parser)
        if action == "status":
            parser.add_argument("--wait", action="store_true", help="follow the job and its log until it ends")

    submit.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.cli.prepare_command import prepare_recipe, recipe_file
    from clozekit.deploy.cli.prepare_command import run as prepare
    from clozekit.deploy.submit.backend import CommandLine
    from clozekit.deploy.submit.submit_job import submit

    submit(arguments, CommandLine(arguments.parse, prepare_recipe, recipe_file, prepare))


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB.YAML", help="the job: every key stands in deploy/submit/job_spec.py")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the job")
    parser.set_defaults(rest="changes")
