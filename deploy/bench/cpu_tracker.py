"""A tracker of a run that notes its CPU seconds at each look: `log.trackers: [clozekit.deploy.bench.cpu_tracker:make]`."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clozekit.model.training.watching.callbacks import Callback, Watched

# The environment says where to.
FILE_VARIABLE = "CLOZEKIT_BENCH_CPU_FILE"


class CpuTracker(Callback):
    """Writes {step: CPU-seconds of the process}, whole after each look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looks: dict[int, float] = {}

    def on_log(self, run: Watched, step: int, values: Mapping[str, Any]) -> None:
        self._looks[step] = time.process_time()
        self._path.write_text(json.dumps(self._looks), encoding="utf-8")


def make() -> CpuTracker:
    return CpuTracker(Path(os.environ[FILE_VARIABLE]))
