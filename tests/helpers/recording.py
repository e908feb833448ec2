"""A callback that writes down what a run tells it, and stops, fails or ends it where a test says; also named as a tracker."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clozekit.model.training import Callback
from clozekit.model.training.watching.callbacks import Watched


class Recorder(Callback):
    """Writes down what it is told; at_step, then: what it does when it hears of that step."""

    def __init__(self, at_step: int | None = None, then: str = "") -> None:
        self.heard: list[tuple[Any, ...]] = []
        self._at_step, self._then = at_step, then

    def on_begin(self, run: Watched, step: int) -> None:
        self.heard.append(("begin", step))

    def on_log(self, run: Watched, step: int, values: Mapping[str, Any]) -> None:
        self.heard.append(("log", step))
        assert values["loss"] > 0 and "kind" not in values
        if step == self._at_step:
            if self._then == "signal":
                signal.raise_signal(signal.SIGTERM)
            elif self._then == "raise":
                raise LookupError("mine")
            else:
                run.stop("it is enough")

    def on_evaluate(self, run: Watched, step: int, metrics: Mapping[str, float]) -> None:
        self.heard.append(("evaluate", step, round(metrics["loss"], 6)))

    def on_checkpoint(self, run: Watched, step: int, path: str) -> None:
        assert Path(path, "state.json").is_file() and path.startswith(run.directory)
        self.heard.append(("checkpoint", step))

    def on_end(self, run: Watched, ending: str) -> None:
        self.heard.append(("end", ending))


MADE: list[Recorder] = []


def recorder() -> Callback:
    """What `log.trackers: [recording:recorder]` makes."""
    MADE.append(Recorder())
    return MADE[-1]


def not_a_callback() -> int:
    return 3
