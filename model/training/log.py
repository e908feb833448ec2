"""The log of a run: JSON lines first, TensorBoard events beside them."""

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends a JSON object for each look at the run, and the same numbers as TensorBoard events."""

    def __init__(self, directory: Path, global_step: int) -> None:
        """Opens the log of a run that stands at `global_step`; lines of later steps, from a run that was cut off after
        its last checkpoint, are dropped, so that the log reads as if it had never stopped."""
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / METRICS_FILE
        kept = [entry for entry in read_metrics(self._path) if entry["step"] <= global_step]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        temporary.replace(self._path)
        self._writers = {
            name: tf.summary.create_file_writer(str(directory / "tensorboard" / name))
            for name in ("train", "validation")
        }

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """kind: "train" or "validation"."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        with self._writers[kind].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Entries of a log; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            entries.append(json.loads(line))
    return entries
