"""What a run's directory says of it from outside: whether it is at work, done, stopped or killed, and how far it is."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from clozekit.model.training.run_directory.checkpoints import found_checkpoints
from clozekit.model.training.run_directory.run_files import (
    CONFIG_FILE,
    FINETUNE,
    METRICS_FILE,
    RESULT_FILE,
    TRAIN,
    name_of,
)
from clozekit.model.training.run_directory.run_log import Entry, read_metrics
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import read_mapping
from clozekit.tokenizers.storage.directory_locks import LOCK_FILE
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS, PRESET

RUNNING, FINISHED, STOPPED, KILLED = "running", "finished", "stopped", "killed"
# A lock of another machine can't be asked about: a log that grew lately says that its run is at work.
_LATELY_SECONDS = 120.0


@dataclass(frozen=True)
class RunState:
    """What is known of a run. config: its configuration, as the file has it. entries: of its log. state: "running",
    "finished", "stopped" (all is saved, it can go on) or "killed" (it ended without a word; it goes on from its last
    checkpoint). saved_step: of that checkpoint. silent_seconds: since the log grew."""

    directory: str
    kind: str
    config: Mapping[str, Any]
    entries: tuple[Entry, ...]
    state: str
    saved_step: int | None
    silent_seconds: float | None

    @property
    def name(self) -> str:
        return str(self.config.get("name") or name_of(self.directory))

    def of_kind(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["kind"] == kind]

    @property
    def step(self) -> int:
        return max((entry["step"] for entry in self.of_kind("train")), default=0)

    @property
    def last_step(self) -> int | None:
        """At which it ends, where that is known: of a run in hours it is not."""
        steps = (self.config.get("train") or {}).get("steps")
        if steps is None and (said := self.of_kind("length")):
            steps = said[-1]["last_step"]
        return steps if isinstance(steps, int) else None


def read_run(directory: str) -> RunState:
    """The run in a directory or at a URL. Raises InputError where there is none."""
    directory = directory.rstrip("/")
    config_file = f"{directory}/{CONFIG_FILE}"
    if not tf.io.gfile.exists(config_file):
        raise InputError(
            f"a run is a directory that `clozekit train` or `finetune` has begun to write, {directory} has no {CONFIG_FILE};"
            " name the `directory` of its configuration"
        )
    config = read_mapping(config_file, "the configuration of a run")
    kind = FINETUNE if isinstance(config.get("data"), dict) else TRAIN
    log = f"{directory}/{METRICS_FILE}"
    entries = tuple(read_metrics(log))
    silent = None
    if tf.io.gfile.exists(log):
        silent = max(0.0, time.time() - tf.io.gfile.stat(log).mtime_nsec / 1e9)
    saved = found_checkpoints(f"{directory}/{CHECKPOINTS}")
    saved_step = saved[-1].step if saved else None
    steps = [entry["step"] for entry in entries if entry["kind"] == "train"]
    if _is_at_work(directory, silent):
        state = RUNNING
    elif _is_finished(directory, kind, config):
        state = FINISHED
    else:
        state = STOPPED if saved_step is not None and saved_step >= max(steps, default=0) else KILLED
    return RunState(directory, kind, config, entries, state, saved_step, silent)


def _is_finished(directory: str, kind: str, config: Mapping[str, Any]) -> bool:
    if kind == FINETUNE:
        return bool(tf.io.gfile.exists(f"{directory}/{RESULT_FILE}"))
    preset = config.get("preset") or f"{directory}/{PRESET}"
    return bool(tf.io.gfile.exists(f"{preset}/config.json"))


def _is_at_work(directory: str, silent_seconds: float | None) -> bool:
    """Whether a process holds the run's lock. It is not taken for that: a run that begins just then would be refused."""
    if "://" in directory:
        return bool(tf.io.gfile.exists(f"{directory}/{LOCK_FILE}.json"))
    try:
        inode = os.stat(f"{directory}/{LOCK_FILE}").st_ino
    except OSError:
        # It goes with an orderly end.
        return False
    try:
        with open("/proc/locks", encoding="ascii") as stream:
            # 1: FLOCK ADVISORY WRITE 812 08:01:1234 0 EOF
            held = {line.split()[5].rpartition(":")[2] for line in stream if "FLOCK" in line and "->" not in line}
    except OSError:
        held = set()
    if str(inode) in held:
        return True
    return silent_seconds is not None and silent_seconds < _LATELY_SECONDS and not _is_of_this_machine(directory)


def _is_of_this_machine(directory: str) -> bool:
    """Whether a directory is on a disk that no other machine sees."""
    best, kind = "", ""
    try:
        with open("/proc/mounts", encoding="utf-8") as stream:
            path = os.path.realpath(directory)
            for line in stream:
                _, place, name, *_ = line.split(" ")
                if (path == place or path.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
                    best, kind = place, name
    except OSError:
        return False
    return kind in ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs")
