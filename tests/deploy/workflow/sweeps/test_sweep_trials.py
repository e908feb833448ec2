"""Trials: how they stand by their runs, mean and spread of their seeds, which is best, how their values are written."""

from typing import Any

import pytest

from clozekit.deploy.workflow.sweeps.sweep_trials import Trial, TrialRun, best_run, best_trial, changes_of, short_names
from clozekit.tokenizers.settings.settings_files import apply_changes


def trial_of(*runs: tuple[str, float | None], number: int = 1) -> Trial:
    return Trial(number, {}, [TrialRun({}, (), state, value) for state, value in runs])


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("waiting", "waiting"), "waiting"),
        (("done", "waiting"), "running"),
        (("running", "failed"), "running"),
        (("done", "done"), "done"),
        (("done", "failed"), "failed"),
        (("stopped", "pruned", "done"), "pruned"),
        (("done", "stopped"), "stopped"),
    ],
)
def test_a_trial_stands_as_its_runs_do(states: tuple[str, ...], state: str) -> None:
    trial = trial_of(*((one, 1.0 if one == "done" else None) for one in states))
    assert trial.state == state
    assert (trial.mean is None) == (state != "done")
    assert trial.has_ended == (state not in ("waiting", "running"))


def test_mean_and_spread_are_those_of_all_seeds() -> None:
    trial = trial_of(("done", 1.0), ("done", 2.0), ("done", 3.0))
    assert (trial.mean, trial.spread) == (2.0, 1.0)
    assert (trial_of(("done", 1.5)).mean, trial_of(("done", 1.5)).spread) == (1.5, None)
    assert trial_of(("done", 1.0), ("done", None)).mean is None


def test_the_best_mean_decides_and_of_equal_ones_the_first() -> None:
    first = trial_of(("done", 1.0), ("done", 4.0), number=1)
    second = trial_of(("done", 2.0), ("done", 2.5), number=2)
    third = trial_of(("done", 2.5), ("done", 2.0), number=3)
    lost = trial_of(("pruned", None), ("done", 0.1), number=4)
    trials = [lost, first, second, third]
    assert best_trial(trials, True) is second
    assert best_trial(trials, False) is first
    assert best_trial([lost], True) is None
    assert best_run(second, True) is second.runs[0]
    assert best_run(second, False) is second.runs[1]


@pytest.mark.parametrize("value", [1e-05, 8, True, None, "roberta", "1e-3", "a: b", [1, "x"], {"a": [1.5]}, "ä\nb", ""])
def test_values_become_changes_that_give_them_back(value: Any) -> None:
    (change,) = changes_of({"train.key": value})
    fields: dict[str, Any] = {}
    apply_changes(fields, [change])
    assert fields == {"train": {"key": value}}


def test_names_are_short_as_long_as_they_tell_keys_apart() -> None:
    keys = ["train.train.steps", "tune.train.steps", "train.optimizer.learning_rate"]
    assert short_names(keys) == ["train.train.steps", "tune.train.steps", "learning_rate"]
    assert short_names(["a.b.c", "a.d.c"]) == ["b.c", "d.c"]
