"""Checkpoints: a folder each, written under a temporary name and renamed, with what is needed to go on exactly."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from clozekit.tokenizers.errors import InputError

_STATE_FILE = "state.json"
_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Position:
    """Where a run stands: steps done, row number over all epochs, real tokens seen."""

    global_step: int = 0
    next_row: int = 0
    tokens_seen: int = 0


class Checkpoints:
    """The checkpoints of one run: saving, pruning, and going back to the newest whole one."""

    def __init__(
        self, directory: Path, model: Any, optimizer: Any, course: Mapping[str, Any], dataset_sha256: str, keep: int
    ) -> None:
        self._directory = directory
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
        self._identity = {**course, "dataset_sha256": dataset_sha256}
        self._keep = keep

    def save(self, position: Position) -> Path:
        """Writes the checkpoint of `position`; it has its name only when it is whole. Removes all but the newest ones."""
        self._directory.mkdir(parents=True, exist_ok=True)
        target = self._directory / f"step-{position.global_step:08d}"
        temporary = target.with_suffix(".tmp")
        for leftover in self._directory.glob("*.tmp"):
            shutil.rmtree(leftover)
        temporary.mkdir()
        self._checkpoint.write(str(temporary / "variables"))
        files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        state = {"run": self._identity, "position": dataclasses.asdict(position), "files": files}
        (temporary / _STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        for old in self.found()[: -self._keep]:
            shutil.rmtree(old)
        return target

    def found(self) -> list[Path]:
        """Folders of checkpoints, the oldest first."""
        if not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if _NAME.fullmatch(path.name))

    def restore_latest(self) -> tuple[Position, list[str]]:
        """Restores the newest whole checkpoint; returns its position and what was wrong with newer ones.

        Returns the start of the run when there is none. A damaged one is renamed to `.damaged`. Raises InputError when
        the checkpoint belongs to a run of other settings or another dataset.
        """
        damaged = []
        for folder in reversed(self.found()):
            problem = whole_checkpoint_problem(folder)
            if problem is not None:
                damaged.append(f"{folder.name}: {problem}")
                # Out of the way: it must not count among the newest that are kept.
                folder.rename(folder.with_suffix(".damaged"))
                continue
            state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
            before = state["run"]
            differing = [
                f"{k} was {before.get(k)!r}, is {v!r}" for k, v in self._identity.items() if before.get(k) != v
            ]
            if differing:
                raise InputError(
                    f"a run goes on only with the settings and the dataset it began with, {folder} has others"
                    f" ({', '.join(differing)}); restore them, or remove {self._directory.parent} or choose another"
                    " `directory` to begin anew"
                )
            self._checkpoint.read(str(folder / "variables")).assert_consumed()
            return Position(**state["position"]), damaged
        return Position(), damaged


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def whole_checkpoint_problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, None when all are there with the bytes that were written."""
    try:
        state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        for name, expected in state["files"].items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if file_sha256(folder / name) != expected:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError) as error:
        return f"{_STATE_FILE} can't be read ({error})"
    return None
