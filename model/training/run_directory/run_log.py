"""The log of a run: JSON lines first, TensorBoard events made from them."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from clozekit.model.training.run_directory.run_files import EVENTS, EVENTS_SUFFIX, METRICS_FILE, remove_events
from clozekit.model.training.run_directory.small_files import write_text
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.storage.file_systems import path_named

# A JSON object: kind and step, and numbers by name, null for one that is none; an event has texts too. What else there is
# depends on the kind, the task and the version that wrote it: `read_metrics` checks that all of it is plain.
Entry: TypeAlias = dict[str, Any]

REMOTE_FLUSH_SECONDS = 30.0
# Of an entry; all else are numbers.
_TEXTS = ("kind", "event", "reason")
# The biggest number of TensorBoard's scalars.
_MOST = float(np.finfo(np.float32).max)
# What every entry of a kind has, and reports read.
_NEEDED = {"validation": ("loss",), "window": ("loss", "fragment"), "event": ("event",), "length": ("last_step",)}
# What the clock, the machine or the price decides; all else is the same in every run of one configuration.
MEASURED = frozenset(
    {
        "tokens_per_second",
        "padded_tokens_per_second",
        "step_seconds",
        "data_wait_share",
        "model_flops_utilization",
        "memory_bytes",
        "cost",
    }
)


class MetricsLog:
    """Appends a JSON object for each look at the run, and the same numbers as TensorBoard events.

    kind of an entry: "train" (of the steps since the one before), "validation", "window" (new windows of a stream, before they
    are trained on), "event" (something that happened, from `step` on), or "length" (the last step, where the configuration does not say it). At a URL, where nothing can be appended and all is written anew, lines are written by `flush`.
    """

    def __init__(self, directory: str | Path, global_step: int) -> None:
        """Opens the log of a run that stands at `global_step`; lines of later steps, from a run that was cut off after
        its last checkpoint, are dropped, so that the log reads as if it had never stopped."""
        self._directory = str(directory).rstrip("/")
        tf.io.gfile.makedirs(self._directory)
        self._path = f"{self._directory}/{METRICS_FILE}"
        self._appends = "://" not in self._path
        self._entries: list[Entry] = []
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._unwritten = False
        self._flushed = time.monotonic()
        entries = read_metrics(self._path)
        self._keep(entries, [entry for entry in entries if entry["step"] <= global_step])

    def go_back(self, global_step: int) -> None:
        """Drops what was logged of later steps, from TensorBoard's events too; what happened has happened."""
        kept = [entry for entry in self._entries if entry["step"] <= global_step or entry["kind"] == "event"]
        self._keep(self._entries, kept)

    def _keep(self, entries: list[Entry], kept: list[Entry]) -> None:
        self._entries = kept
        self._write_all()
        for writer in self._writers.values():
            writer.close()
        events = f"{self._directory}/{EVENTS}"
        anew = len(self._entries) < len(entries) or not tf.io.gfile.exists(events)
        if anew:
            remove_events(self._directory)
        self._writers = {
            name: tf.summary.create_file_writer(f"{events}/{name}", filename_suffix=EVENTS_SUFFIX)
            for name in ("train", "validation")
        }
        for entry in self._entries if anew else []:
            self._write_events(entry)

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries)

    def write(self, kind: str, step: int, values: Mapping[str, float | str]) -> None:
        # JSON has no NaN: a number that is none is null.
        entry = {"kind": kind, "step": step, **{name: _finite(value) for name, value in values.items()}}
        self._entries.append(entry)
        if self._appends:
            with path_named(self._path), open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        else:
            self._unwritten = True
        self._write_events(entry)

    def flush(self, at_once: bool = True) -> None:
        """Writes what is not written yet; at a URL, unless `at_once`, only now and then."""
        now = time.monotonic()
        if not self._appends and not at_once and now - self._flushed < REMOTE_FLUSH_SECONDS:
            return
        self._flushed = now
        if self._unwritten:
            self._write_all()
        for writer in self._writers.values():
            writer.flush()

    def _write_all(self) -> None:
        write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in self._entries))
        self._unwritten = False

    def _write_events(self, entry: Entry) -> None:
        writer = self._writers.get(entry["kind"])
        if writer is None:
            return
        with writer.as_default():
            for name, value in entry.items():
                if isinstance(value, int | float) and name != "step":
                    # The perplexity of a run gone wild is more than TensorBoard's numbers hold.
                    tf.summary.scalar(name, min(value, _MOST), step=entry["step"])

    def close(self) -> None:
        self.flush()
        for writer in self._writers.values():
            writer.close()


class NoLog:
    """What the workers write that are not the chief: nothing."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, kind: str, step: int, values: Mapping[str, float | str]) -> None:
        """Nothing, as the others."""

    def go_back(self, global_step: int) -> None: ...
    def flush(self, at_once: bool = True) -> None: ...
    def close(self) -> None: ...


def _finite(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: str | Path) -> list[Entry]:
    """Entries of a log; a last line that a kill cut short is left out. Raises InputError for a line that is no entry."""
    if not tf.io.gfile.exists(str(path)):
        return []
    with tf.io.gfile.GFile(str(path), "rb") as stream:
        content = stream.read()
    lines = content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]
    return [_entry(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]


def _entry(line: bytes, named: str) -> Entry:
    entry = parse_object(line, named)
    step, numbers = entry.get("step"), [value for value in entry.values() if isinstance(value, int | float)]
    is_step = isinstance(step, int) and not isinstance(step, bool) and step >= 0
    # NaN is in no comparison; beyond 64 bits there are no numbers here, and none that is spelled as a text.
    fits = all(abs(value) < 2**63 if isinstance(value, int) else abs(value) <= 1e300 for value in numbers)
    plain = all(value is None or isinstance(value, str | int | float) for value in entry.values())
    spelled = [name for name, value in entry.items() if isinstance(value, str) and name not in _TEXTS]
    kind = entry.get("kind")
    whole = isinstance(kind, str) and all(name in entry for name in _NEEDED.get(kind, ()))
    if not whole or not is_step or not fits or not plain or spelled:
        raise InputError(
            f"{named} must be an entry of a run's log, with its kind and its step, it is not: the file was changed; put it"
            " back, or move it away (the report then lacks what it held)"
        )
    return entry
