"""Weights & Biases: a run there for the run here. WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE=offline are its own settings."""

import os
from collections.abc import Mapping
from typing import Any

import wandb

from clozekit.model.training.watching.callbacks import Watched
from clozekit.model.training.watching.tracker import Tracker

PROJECT = "clozekit"


class NamedTracker(Tracker):
    """Curves are over `step`, a number that is sent along: a run that went on may send steps again, which its own counter refuses."""

    def begin(self, run: Watched, settings: Mapping[str, Any], known: str | None) -> str:
        # Beside the run where that is on a disk.
        folder = None if "://" in run.directory else run.directory
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=known,
            resume="allow",
            dir=folder,
            config=dict(settings),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        return str(self._run.id)

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def end(self, ending: str) -> None:
        self._run.finish(exit_code=1 if ending == "failed" else 0)
