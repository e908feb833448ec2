"""A tracker that notes the CPU seconds of a run of ours after so many steps, for benchmarks: `log.trackers: [cpu_marks:make]`."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clozekit.model.training.watching.callbacks import Callback, Watched

# The environment says where to.
FILE = "CLOZEKIT_BENCHMARK_MARKS"


class CpuMarks(Callback):
    """Steps -> CPU seconds of this process, at each look of the controller."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[int, float] = {}

    def on_log(self, run: Watched, step: int, values: Mapping[str, Any]) -> None:
        self.seconds[step] = time.process_time()

    def on_end(self, run: Watched, ending: str) -> None:
        self.path.write_text(json.dumps(self.seconds), encoding="utf-8")


def make() -> CpuMarks:
    return CpuMarks(Path(os.environ[FILE]))
