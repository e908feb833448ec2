"""The trials of a sweep: their runs, how each stands, the mean and spread of their seeds, which is best."""

import json
import posixpath
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from clozekit.deploy.workflow.plan_steps import PlannedStep
from clozekit.deploy.workflow.run_steps import DONE, FAILED, PRUNED, RUNNING, STOPPED, WAITING
from clozekit.deploy.workflow.step_kinds import STEP_KINDS
from clozekit.deploy.workflow.step_record import LOG_FILE
from clozekit.deploy.workflow.sweeps.rules.prune_rule import Verdict
from clozekit.deploy.workflow.sweeps.rules.sweep_points import Point
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import TRAINED, Sweep
from clozekit.deploy.workflow.workflow_file import Workflow


@dataclass
class TrialRun:
    """One run of a trial, with one choice of seeds. steps: all that the measured step needs, itself last. state: one of the words of
    run_steps.py; value: what was measured, None until it is; last_step: how far its log is; seconds: of its own steps; last:
    what it says, or why it ended; verdict: why it was stopped as losing."""

    seeds: Point
    steps: Sequence[PlannedStep]
    state: str = WAITING
    value: float | None = None
    last_step: int = 0
    seconds: float = 0.0
    last: str = ""
    verdict: Verdict | None = None

    @property
    def measured(self) -> PlannedStep:
        return self.steps[-1]

    def step(self, name: str) -> PlannedStep:
        return next(one for one in self.steps if one.name == name)


@dataclass
class Trial:
    """A point of a sweep with its runs. number: from 1; refused: why its settings can't be run."""

    number: int
    point: Point
    runs: list[TrialRun] = field(default_factory=list)
    refused: str = ""

    @property
    def state(self) -> str:
        states = {run.state for run in self.runs}
        if self.refused:
            return FAILED
        for state in (RUNNING, WAITING):
            # Of a losing trial the other seeds end with it.
            if state in states:
                is_begun = state == WAITING and states & {DONE}
                return RUNNING if is_begun else state
        return next((state for state in (FAILED, PRUNED, STOPPED) if state in states), DONE)

    @property
    def has_ended(self) -> bool:
        return self.state not in (WAITING, RUNNING)

    @property
    def values(self) -> list[float]:
        return [run.value for run in self.runs if run.state == DONE and run.value is not None]

    @property
    def mean(self) -> float | None:
        """Of all its seeds; None until all have measured."""
        if self.state != DONE or len(self.values) < len(self.runs):
            return None
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation of its seeds, by one less than their number; None of fewer than two."""
        return statistics.stdev(self.values) if self.mean is not None and len(self.values) > 1 else None


def best_trial(trials: Sequence[Trial], is_lowest_best: bool) -> Trial | None:
    """The trial with the best mean, of equal ones the first; None where none has come to its end."""
    done = [trial for trial in trials if trial.mean is not None]
    return min(done, key=lambda trial: _rank(trial.mean, is_lowest_best), default=None)


def best_run(trial: Trial, is_lowest_best: bool) -> TrialRun:
    """The run of a trial that the steps behind the measured one go on with: the best of its seeds."""
    return min(trial.runs, key=lambda run: _rank(run.value, is_lowest_best))


def _rank(value: float | None, is_lowest_best: bool) -> float:
    assert value is not None
    return value if is_lowest_best else -value


def changes_of(values: Mapping[str, Any]) -> list[str]:
    """The changes of a recipe that give its keys these values, as the command line takes them.

    Example:

        >>> from clozekit.deploy.workflow.sweeps.sweep_trials import changes_of
        >>> changes_of({"train.optimizer.learning_rate": 1e-05, "values.vocabulary": "small"})
        ['train.optimizer.learning_rate=1.0e-05', 'values.vocabulary=small']
    """
    return [f"{key}={_yaml(value)}" for key, value in values.items()]


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=2**31, allow_unicode=True)
    return str(text).removesuffix("...\n").strip()


def trial_recipe(workflow: Workflow, sweep: Sweep, number: int, point: Point, seeds: Point) -> Workflow:
    """What a run of a trial runs: the recipe with its values. Its training is named by them, where it has no name, so that a
    page of many runs says which is which."""
    changes = changes_of({**point, **seeds})
    name = f"trial {number}"
    if seeds:
        name += " seed " + " ".join(str(value) for value in seeds.values())
    needed = [workflow.steps[step] for step in sweep.varied if step in _needed(workflow, sweep.measured)]
    changes += changes_of(
        {f"{one.name}.name": name for one in needed if one.verb in TRAINED and "name" not in one.block}
    )
    return workflow.changed(changes)


def _needed(workflow: Workflow, name: str) -> set[str]:
    return {step.name for step in workflow.needed_for(name)}


def run_directory(planned: PlannedStep) -> str:
    """Where a training writes its log."""
    assert planned.place is not None and planned.step.verb in TRAINED and STEP_KINDS[planned.step.verb].place
    return planned.place


def shown_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Short name of each key -> its value as text; the last part of the key where no other has it.

    Example:

        >>> from clozekit.deploy.workflow.sweeps.sweep_trials import shown_values
        >>> shown_values({"train.optimizer.learning_rate": 0.001, "train.train.global_batch_size": 8})
        {'learning_rate': '0.001', 'global_batch_size': '8'}
    """
    names = short_names(list(values))
    return {name: _shown(value) for name, value in zip(names, values.values(), strict=True)}


def short_names(keys: Sequence[str]) -> list[str]:
    """The last parts of dotted keys, as many of each as tell them apart."""
    made = []
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        made.append(next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1))
    return made


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def trial_facts(trial: Trial) -> dict[str, Any]:
    """A trial as JSON has it."""
    return {
        "number": trial.number,
        "values": trial.point,
        "state": trial.state,
        "mean": trial.mean,
        "spread": trial.spread,
        "refused": trial.refused or None,
        "runs": [
            {
                "seeds": run.seeds,
                "state": run.state,
                "value": run.value,
                "steps": run.last_step,
                "seconds": round(run.seconds, 3),
                "output": run.measured.place,
                "log": posixpath.join(run.measured.folder, LOG_FILE),
            }
            for run in trial.runs
        ],
    }
