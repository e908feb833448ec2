"""What a worker runs: the `clozekit train` behind `--`, checked here, with its configuration carried along as text."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clozekit.deploy.submit.backend import CommandLine
from clozekit.deploy.submit.job_spec import Job
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import read_text
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS, split_run_path

# The configuration travels inside the request: what was submitted is trained, however the file changes afterwards.
CONFIG_VARIABLE = "CLOZEKIT_CONFIG"
CONFIG_FILE = "/tmp/clozekit-config.yaml"

_WRITE_CONFIG = f'printf %s "${CONFIG_VARIABLE}" > {CONFIG_FILE}'


@dataclass(frozen=True)
class RemoteCommand:
    """words: `clozekit` and its arguments on a worker, the configuration being the file `config_file` there; config: its
    text."""

    words: tuple[str, ...]
    config: str

    def with_config_file(self, path: str) -> "RemoteCommand":
        return RemoteCommand(tuple(path if word == CONFIG_FILE else word for word in self.words), self.config)

    def once(self) -> str:
        """A shell line that becomes the command, so that signals reach it and its exit status is the container's."""
        return f"{_WRITE_CONFIG} && exec {shlex.join(self.words)}"

    def again_when_a_worker_is_lost(self, max_restarts: int) -> str:
        """A shell script for platforms that take one failed process for a failed job.

        Status 76, another worker was lost: begin again, as the platform does with that one. Status 75, told to stop and
        saved: this machine is about to go; ending by itself would look like a failure, so it waits for that.
        """
        return "\n".join(
            [
                f"{_WRITE_CONFIG} || exit 1",
                "restarts=0 child='' told=''",
                "# Before the command begins: a signal in between would end this shell alone.",
                'trap \'told=yes; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null\' TERM',
                "while :; do",
                f"  {shlex.join(self.words)} &",
                "  child=$!",
                '  [ -z "$told" ] || kill -TERM "$child" 2>/dev/null',
                '  wait "$child"; status=$?',
                "  # A signal ends a wait before the command has saved.",
                '  while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done',
                '  if [ "$status" -eq 75 ]; then trap - TERM; sleep "${CLOZEKIT_LEAVE_SECONDS:-600}"; fi',
                f'  if [ "$status" -ne 76 ] || [ -n "$told" ] || [ "$restarts" -ge {max_restarts} ]; then exit "$status"; fi',
                "  restarts=$((restarts + 1))",
                '  echo "another worker is gone, start $restarts of this one" >&2',
                "done",
            ]
        )


def _is_here(place: str | None) -> bool:
    """Whether a preset, or a path into a run such as run/best, is one on this machine."""
    if place is None or "://" in place:
        return False
    return Path(place).is_dir() or (Path(split_run_path(place)[0]) / CHECKPOINTS).is_dir()


def train_command(job: Job, words: Sequence[str], line: CommandLine, backend: str, needs_url: bool) -> RemoteCommand:
    """The command for `backend`. needs_url: what it reads and writes must have URLs, because workers share no disk.

    Raises InputError for any other command than train, and for a configuration that the trainer would refuse.
    """
    if not words or words[0] != "train":
        raise InputError(
            f"{backend} runs `train`, got {shlex.join(words) or 'no command'}; write it behind `--`, as in: clozekit"
            f" submit {backend} job.yaml -- train config.yaml"
        )
    order = line.train_order(words)
    changes = list(order.changes)
    if job.output is not None:
        changes.append(f"directory={job.output}")
    from clozekit.model.training.settings.run_file import load_config

    config = load_config(order.config, changes)
    places = {"dataset": config.dataset, "directory": config.directory, "tokenizer": config.tokenizer}
    teacher = None if config.distill is None else config.distill.teacher
    starts = {"init_from": config.init_from, "replaced.generator": config.generator, "distill.teacher": teacher}
    # Others are built-in names, or places in the image.
    places |= {"preset": config.preset, **{key: place for key, place in starts.items() if _is_here(place)}}
    for key, place in places.items():
        mounted = any(str(place).startswith(path) for path in job.kubernetes.volumes.values()) and backend == "gke"
        if needs_url and place is not None and "://" not in place and not mounted:
            raise InputError(
                f"{key} must be where the workers of {backend} reach it (gs://bucket/...), got {place!r}; put it there,"
                " or mount a volume (kubernetes.volumes)"
            )
    asked = config.cluster.num_workers
    if asked is not None and asked != job.num_workers:
        raise InputError(
            f"cluster.num_workers must be the job's num_workers, got {asked} and {job.num_workers}; leave it out"
        )
    flags = ["--dry-run"] if order.dry_run else []
    text = "{}\n" if order.config is None else read_text(order.config)
    return RemoteCommand(("clozekit", "train", CONFIG_FILE, *changes, *flags), text)
