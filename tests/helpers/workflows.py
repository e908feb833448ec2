"""Workflows of tests, whose commands are a small script in the place of the real ones."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from clozekit.deploy.cli.parser import build_parser, parse
from clozekit.deploy.cli.words_of_step import words_of_step
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.workflow import step_process
from clozekit.deploy.workflow.plan_steps import PlannedStep
from clozekit.deploy.workflow.references import references_in
from clozekit.deploy.workflow.run_steps import StepState
from clozekit.deploy.workflow.run_workflow import look, run_workflow
from clozekit.deploy.workflow.step_inputs import find_values, may_be_built_in
from clozekit.deploy.workflow.workflow_file import Step, Workflow, load_workflow

STAND_IN = (sys.executable, str(Path(__file__).parent / "step_program.py"))
# Every kind of edge: one after the other, two of one, one of two, by content of files and code.
RECIPE: dict[str, Any] = {
    "output": "out",
    "values": {"steps": 20},
    "steps": {
        "words": {"vocab": {"read": {"inputs": ["docs"]}, "vocabulary_size": 300}},
        "data": {"prepare": {"tokenizer": "${words.output}", "read": {"inputs": ["docs/*.txt"]}}},
        "model": {
            "train": {
                "dataset": "${data.output}",
                "objective": "own_loss:own",
                "train": {"steps": "${values.steps}"},
                "optimizer": {"learning_rate": "1e-3"},
            }
        },
        "score": {"evaluate": {"preset": "${model.preset}", "dataset": "${data.output}", "max_rows": 50}},
        "labels": {
            "finetune": {
                "init_from": "${model.preset}",
                "data": {"train": "more.txt", "text": "0", "label": "1", "header": False},
            }
        },
        "check": {"evaluate": {"preset": "${labels.preset}", "examples": "more.txt"}},
    },
}


def words_of(step: Step, block: Any, job: Job | None) -> list[str]:
    """As `clozekit run` has them."""
    return words_of_step(build_parser(), parse, True, step, block, job)


def write_inputs(workflow: Workflow, folder: Path) -> None:
    """Something at each place below `folder` that the steps read and none of them writes."""
    for step in workflow.steps.values():
        for key, value in find_values(step.block, step.kind.inputs):
            for text in value if isinstance(value, list | tuple) else [value]:
                if not any(references_in(text)) and not may_be_built_in(key):
                    path = folder / text.replace("*", "0")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text("something")


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working directory is `folder`."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def stand_in(folder: Path, orders: dict[str, Any], program: Sequence[str] = STAND_IN) -> Iterator[None]:
    """Steps are the script, which does what `orders` say of them and notes what it does in journal.txt; the working directory is
    `folder`."""
    (folder / "orders.json").write_text(json.dumps(orders))
    variables = {
        "CLOZEKIT_TEST_ORDERS": str(folder / "orders.json"),
        "CLOZEKIT_TEST_JOURNAL": str(folder / "journal.txt"),
    }
    with mock.patch.dict(os.environ, variables), mock.patch.object(step_process, "PROGRAM", program), inside(folder):
        yield


def look_at(folder: Path, *changes: str, until: str | None = None) -> list[PlannedStep]:
    with inside(folder):
        return look(load_workflow("recipe.yaml", changes), until, words_of)


def run(
    folder: Path,
    *changes: str,
    until: str | None = None,
    orders: dict[str, Any] | None = None,
    tell: Callable[[Sequence[StepState]], None] = lambda states: None,
    keep_going: bool = False,
) -> list[StepState]:
    with stand_in(folder, orders or {}):
        workflow: Workflow = load_workflow("recipe.yaml", changes)
        return run_workflow(workflow, until, words_of, tell, keep_going)


def journal(folder: Path) -> list[str]:
    path = folder / "journal.txt"
    return path.read_text().splitlines() if path.exists() else []
