"""What the runs of a sweep measure: the course of a run from its log, and the number that decides."""

import json
import math
import os
import posixpath
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clozekit.deploy.workflow.step_record import read_json
from clozekit.deploy.workflow.sweeps.rules.prune_rule import Course
from clozekit.model.training.run_directory.run_files import METRICS_FILE
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, read_text

# Nothing says of a log in a bucket whether it has grown.
_REMOTE_SECONDS = 30.0


@dataclass
class _Log:
    """A log as it was read. mark: what is another when it has grown; courses: by their metrics, as far as they were asked for."""

    mark: Any
    entries: list[dict[str, Any]]
    courses: dict[str, Course] = field(default_factory=dict)


class RunLogs:
    """The logs of runs, read again when they have grown."""

    def __init__(self) -> None:
        self._known: dict[str, _Log] = {}

    def course(self, directory: str, metric: str) -> Course:
        """What the validations of a run have measured so far."""
        log = self._log(directory)
        if metric not in log.courses:
            log.courses[metric] = course_of(log.entries, metric)
        return log.courses[metric]

    def last_step(self, directory: str) -> int:
        """How far its log says that a run is."""
        entries = self._log(directory).entries
        return int(entries[-1]["step"]) if entries else 0

    def _log(self, directory: str) -> _Log:
        path = posixpath.join(directory, METRICS_FILE)
        filesystem, name = open_file_system(path)
        known = self._known.get(path)
        if is_local(filesystem):
            try:
                info = os.stat(name)
            except FileNotFoundError:
                return _Log(None, [])
            mark: Any = (info.st_size, info.st_mtime_ns, info.st_ino)
            is_same = known is not None and known.mark == mark
        else:
            mark = time.monotonic()
            is_same = known is not None and mark - known.mark < _REMOTE_SECONDS
        if known is None or not is_same:
            text = read_text(path) if is_local(filesystem) or filesystem.isfile(name) else ""
            known = self._known[path] = _Log(mark, entries_of(text))
        return known


def entries_of(text: str) -> list[dict[str, Any]]:
    """The whole entries of a log; a run at work may be in the middle of its last line."""
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            found.append(entry)
    return found


def course_of(entries: Sequence[Mapping[str, Any]], metric: str) -> Course:
    """(step, value) of every validation in a log that measured the metric.

    Example:

        >>> from clozekit.deploy.workflow.sweeps.run_measures import course_of
        >>> course_of([{"kind": "validation", "step": 5, "loss": 3.5}], "loss")
        [(5, 3.5)]
    """
    measured = (entry for entry in entries if entry.get("kind") == "validation")
    return [(entry["step"], value) for entry in measured if (value := _number(entry, metric)) is not None]


def answered(path: str, metric: str) -> float | None:
    """The number under a dotted key of what `evaluate` wrote, None where it has none."""
    return _number(read_json(path) or {}, metric)


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value: Any = values.get(key)
    if value is None and "." in key:
        value = values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
