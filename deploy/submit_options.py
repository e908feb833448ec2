"""The options of `clozekit submit`."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

BACKENDS = {
    "dataflow": "Prepare on Dataflow",
    "vertex": "Train as a CustomJob of Vertex AI",
    "gke": "Train on a Kubernetes cluster: a JobSet, or an Indexed Job",
    "tpu": "Train on a TPU VM, as a queued resource",
    "slurm": "Train as a batch job of Slurm",
}
_EXAMPLES = {
    "dataflow": "-- prepare --input 'gs://bucket/docs/*' --tokenizer gs://bucket/tokenizer --output gs://bucket/dataset",
    "vertex": "num_workers=4 --dry-run -- train config.yaml train.steps=5000",
    "gke": "--wait -- train config.yaml",
    "tpu": "--wait -- train config.yaml",
    "slurm": "-- train config.yaml",
}


def split_remote(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of this command, and those behind `--`, which another machine runs; all of them where nothing is
    submitted."""
    command = next((word for word in words if not word.startswith("-")), None)
    if command != "submit" or "--" not in words:
        return list(words), []
    place = list(words).index("--")
    return list(words[:place]), list(words[place + 1 :])


def add_submit(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    submit = command(
        commands,
        "submit",
        "Run prepare or train elsewhere: on Dataflow, Vertex AI, Kubernetes, TPU VMs or Slurm.",
        "clozekit submit vertex job.yaml --dry-run -- train config.yaml\n"
        "  clozekit submit status vertex job.yaml\n"
        "  clozekit submit cancel vertex job.yaml",
    )
    actions = submit.add_subparsers(dest="action", required=True, metavar="WHERE")
    for backend, summary in BACKENDS.items():
        parser = command(actions, backend, f"{summary}.", f"clozekit submit {backend} job.yaml {_EXAMPLES[backend]}")
        parser.usage = f"clozekit submit {backend} JOB.YAML [KEY=VALUE ...] [--dry-run] [--wait] -- COMMAND ..."
        _add_job(parser)
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--dry-run", action="store_true", help="submit nothing: print the exact manifest or request")
        group.add_argument("--wait", action="store_true", help="follow the job and its log until it ends")
        parser.set_defaults(backend=backend)
    for action, summary in (("status", "Say how a job stands."), ("cancel", "Stop a job.")):
        parser = command(actions, action, summary, f"clozekit submit {action} vertex job.yaml")
        parser.add_argument("backend", choices=BACKENDS, metavar="WHERE", help=", ".join(BACKENDS))
        _add_job(parser)
        if action == "status":
            parser.add_argument("--wait", action="store_true", help="follow the job and its log until it ends")


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB.YAML", help="the job: every key stands in deploy/job.py")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the job")
    parser.set_defaults(rest="changes")
