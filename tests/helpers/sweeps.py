"""Sweeps of tests, whose commands are a small script in the place of the real ones."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import workflows
import yaml
from workflows import words_of

from clozekit.deploy.workflow import run_steps
from clozekit.deploy.workflow.run_steps import StepState
from clozekit.deploy.workflow.sweeps import sweep_leader
from clozekit.deploy.workflow.sweeps.plan_sweep import SweepPlan
from clozekit.deploy.workflow.sweeps.run_sweep import look_at_sweep, run_sweep
from clozekit.deploy.workflow.sweeps.sweep_leader import SweepLeader
from clozekit.deploy.workflow.workflow_file import load_workflow

PROGRAM = (sys.executable, str(Path(__file__).parent / "sweep_program.py"))
RATE = "train.optimizer.learning_rate"
STEPS: dict[str, Any] = {
    "data": {"prepare": {"tokenizer": "bert_tiny_en_uncased", "read": {"inputs": ["docs/*.txt"]}}},
    "train": {"needs": {"cores": 1}, "train": {"dataset": "${data.output}", "train": {"steps": 100}}},
    "theirs": {"convert": {"sources": ["${train.preset}"], "to": "huggingface"}},
}


def write_recipe(folder: Path, sweep: dict[str, Any], steps: dict[str, Any] = STEPS, cores: int = 1) -> None:
    """A recipe with that sweep, and a document to prepare."""
    recipe = {"output": "out", "limits": {"cores": cores}, "steps": steps, "sweep": sweep}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "0.txt").write_text("a document")


@contextlib.contextmanager
def stand_in(folder: Path, orders: dict[str, Any]) -> Iterator[None]:
    """As that of workflows, with the script of sweeps, and looked at often."""
    with (
        workflows.stand_in(folder, orders, PROGRAM),
        mock.patch.object(run_steps, "_POLL_SECONDS", 0.01),
        mock.patch.object(sweep_leader, "_LOOK_SECONDS", 0.02),
    ):
        yield


def look_at(folder: Path, *changes: str, until: str | None = None) -> SweepPlan:
    with stand_in(folder, {}):
        workflow = load_workflow("recipe.yaml", changes)
        assert workflow.sweep is not None
        return look_at_sweep(workflow, workflow.sweep, until, words_of)


def run(
    folder: Path,
    *changes: str,
    until: str | None = None,
    orders: dict[str, Any] | None = None,
    tell: Callable[[SweepLeader, Sequence[StepState]], None] = lambda leader, states: None,
) -> tuple[SweepLeader, list[StepState]]:
    with stand_in(folder, orders or {}):
        workflow = load_workflow("recipe.yaml", changes)
        assert workflow.sweep is not None
        return run_sweep(workflow, workflow.sweep, until, words_of, tell)


def journal(folder: Path) -> list[str]:
    """What the steps noted since the last look."""
    lines = workflows.journal(folder)
    (folder / "journal.txt").unlink(missing_ok=True)
    return lines


if __name__ == "__main__":
    # A leader that tests kill: FOLDER and the orders as JSON.
    run(Path(sys.argv[1]), orders=json.loads(sys.argv[2]))
