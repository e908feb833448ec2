"""Sweeps as recipes have them: what they change, how many points that makes, one clear line for each mistake."""

import copy
from typing import Any

import pytest
from sweeps import RATE, STEPS

from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Span, Sweep
from clozekit.deploy.workflow.workflow_file import Workflow, make_workflow
from clozekit.tokenizers.common.errors import InputError

SCORED = {**STEPS, "score": {"evaluate": {"preset": "${train.preset}", "dataset": "${data.output}"}}}
BATCH = "train.train.global_batch_size"


def workflow_of(sweep: Any, *changes: str, steps: Any = SCORED, values: Any = None) -> Workflow:
    fields = {"output": "out", "values": values, "steps": steps, "sweep": sweep}
    return make_workflow(copy.deepcopy(fields), changes, "r.yaml")


def sweep_of(sweep: Any, *changes: str, **recipe: Any) -> Sweep:
    made = workflow_of(sweep, *changes, **recipe).sweep
    assert made is not None
    return made


def test_a_list_is_all_that_a_sweep_needs() -> None:
    sweep = sweep_of({RATE: ["5e-4", 1e-3]})
    # YAML takes 5e-4 for text.
    assert sweep.keys == {RATE: (5e-4, 1e-3)}
    assert (sweep.measured, sweep.pruned, sweep.settings.method, sweep.most_points) == ("train", None, "grid", 2)
    assert sweep.seed_choices == [{}]
    assert sweep.varied == {"train", "theirs", "score"}


def test_ranges_seeds_and_budgets() -> None:
    sweep = sweep_of(
        {
            RATE: {"low": "1e-4", "high": 1e-2, "scale": "log"},
            BATCH: {"low": 8, "high": 64, "whole": True},
            "seeds": {"train.seed": [0, 1, 2], "data.rows.seed": [5, 6, 7]},
            "method": "random",
            "runs": 12,
            "measure": {"step": "score", "metric": "accuracy"},
            "prune": {"after_steps": 20},
        }
    )
    assert sweep.keys == {RATE: Span(1e-4, 1e-2, "log"), BATCH: Span(8.0, 64.0, whole=True)}
    assert sweep.seed_choices == [{"train.seed": seed, "data.rows.seed": seed + 5} for seed in (0, 1, 2)]
    assert (sweep.measured, sweep.pruned, sweep.most_points) == ("score", "train", 4)
    assert not sweep.settings.measure.is_lowest_best
    # Each of them has its own dataset too.
    assert sweep.varied == {"data", "train", "theirs", "score"}


@pytest.mark.parametrize(
    ("metric", "best", "is_lowest"),
    [
        ("loss", None, True),
        ("pseudo_perplexity", None, True),
        ("accuracy", None, False),
        ("f1", "lowest", True),
        ("loss", "highest", False),
    ],
)
def test_losses_and_perplexities_are_best_when_low(metric: str, best: str | None, is_lowest: bool) -> None:
    sweep = sweep_of({RATE: [1, 2], "measure": {"metric": metric, "best": best}})
    assert sweep.settings.measure.is_lowest_best == is_lowest


def test_a_value_of_the_recipe_can_be_tried() -> None:
    steps = copy.deepcopy(SCORED)
    steps["train"]["train"]["train"]["steps"] = "${values.steps}"
    sweep = sweep_of({"values.steps": [10, 20]}, steps=steps, values={"steps": 5})
    assert sweep.varied == {"train", "theirs", "score"}


def test_changes_reach_the_sweep() -> None:
    changes = ["sweep.runs=3", f"sweep.{RATE}=[1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3]", "sweep.seeds.train.seed=[7]"]
    sweep = sweep_of({RATE: [1]}, *changes)
    assert sweep.keys == {RATE: (1e-3, 2e-3, 3e-3, 4e-3)}
    assert (sweep.most_points, sweep.seed_choices) == (3, [{"train.seed": 7}])
    # A recipe without one gets one.
    assert sweep_of(None, f"sweep.{RATE}=[1.0e-3]").keys == {RATE: (1e-3,)}
    assert workflow_of({RATE: [1]}, "sweep=null").sweep is None


def test_a_trial_is_the_recipe_with_changes_and_without_its_sweep() -> None:
    workflow = workflow_of({RATE: [1]}, "train.train.steps=7")
    trial = workflow.changed([f"{RATE}=0.5"])
    assert trial.sweep is None
    block = {"dataset": "${data.output}", "train": {"steps": 7}, "optimizer": {"learning_rate": 0.5}}
    assert trial.steps["train"].block == block
    assert workflow.steps["train"].block == {"dataset": "${data.output}", "train": {"steps": 7}}


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ([1], "sweep of r.yaml must be a mapping of keys to values, got [1]"),
        ({}, "sweep of r.yaml must change a setting, got {}; add train.optimizer.learning_rate: [5.0e-4, 1.0e-3]"),
        (
            {RATE: 1},
            f"sweep.{RATE} of r.yaml must be a list of values or a range, got 1; write sweep.{RATE}: [VALUE, VALUE]",
        ),
        ({RATE: []}, f"sweep.{RATE} of r.yaml must be a list of values or a range, got []"),
        ({RATE: [1, 1]}, f"sweep.{RATE} of r.yaml must name each value once, got [1, 1]"),
        ({"tain.x": [1]}, "must begin with a step or values, got tain.x; did you mean train?"),
        ({"train.": [1]}, "must begin with a step or values, got train."),
        (
            {RATE: [1], "rums": 3},
            "every key of a configuration must be known, r.yaml has sweep.rums; did you mean sweep.runs?",
        ),
        ({RATE: {"low": 2, "high": 1, "points": 3}}, "a range of a sweep must have low below high, got 2.0 and 1.0"),
        ({RATE: {"low": 1}}, f"the key sweep.{RATE}.high is needed, r.yaml does not have it; add it"),
        (
            {RATE: {"low": 0, "high": 1, "scale": "log"}},
            "a range of a sweep with scale: log must begin above 0, got 0.0",
        ),
        (
            {RATE: {"low": 0, "high": 1, "scale": "ln"}},
            "scale of a range of a sweep must be one of linear, log, got 'ln'",
        ),
        (
            {RATE: {"low": 0.5, "high": 1, "whole": True}},
            "a range of a sweep with whole: true must have whole ends, got 0.5",
        ),
        ({RATE: {"low": 0, "high": 1}}, f"the range sweep.{RATE} of r.yaml must say how many points a grid takes"),
        ({RATE: {"low": 0, "high": 1, "points": 1}}, "points of a range of a sweep must be at least 2, got 1"),
        ({RATE: [1], "method": "bayes"}, "sweep.method must be one of grid, random, optuna, got 'bayes'"),
        ({RATE: [1], "method": "random"}, "a sweep by method random must have an end, got None; give sweep.runs"),
        ({"seeds": {"train.seed": [1]}, "method": "random", "runs": 3}, "by method random must vary a setting"),
        ({RATE: [1], "runs": 0}, "sweep.runs must be at least 1, got 0"),
        ({RATE: [1], "at_once": 0}, "sweep.at_once must be at least 1, got 0"),
        ({RATE: [1], "hours": 0}, "sweep.hours must be above 0, got 0.0"),
        ({RATE: [1], "cost": 3}, "sweep.cost goes with sweep.price_per_hour, got 3.0 and None; give both, or neither"),
        ({RATE: [1], "seeds": [1]}, "sweep.seeds of r.yaml must be a mapping of settings to lists, got [1]"),
        ({RATE: [1], "seeds": {"train.seed": 1}}, "sweep.seeds.train.seed of r.yaml must be a list of values"),
        (
            {RATE: [1], "seeds": {"train.seed": [1], "data.rows.seed": [1, 2]}},
            "sweep.seeds of r.yaml must be lists of one length",
        ),
        ({RATE: [1], "seeds": {RATE: [1]}}, "a setting of the sweep of r.yaml is varied, or one of its seeds, got"),
        (
            {RATE: [1], "seeds": {"train.seed": [1, 2, 3]}, "runs": 2},
            "sweep.runs of r.yaml must be at least the number of seeds, 3",
        ),
        (
            {RATE: [1], "measure": {"step": "data"}},
            "must be a step of train, finetune, evaluate: train, score, got 'data'",
        ),
        ({RATE: [1], "measure": {"best": "low"}}, "sweep.measure.best must be one of lowest, highest, got 'low'"),
        (
            {"score.mask_rate": [0.1, 0.2]},
            "sweep.score.mask_rate must change the measured step train or one that it needs",
        ),
        ({RATE: [1], "prune": {}}, "the key sweep.prune.after_steps is needed, r.yaml does not have it; add it"),
        ({RATE: [1], "prune": {"after_steps": 0}}, "sweep.prune.after_steps must be at least 1, got 0"),
        (
            {RATE: [1], "prune": {"after_steps": 1, "rule": "half"}},
            "sweep.prune.rule must be one of median, halving, got 'half'",
        ),
        (
            {RATE: [1], "prune": {"after_steps": 1, "reduction_factor": 3}},
            "sweep.prune.reduction_factor goes with rule: halving, got 3; leave it out, or add the rule",
        ),
        (
            {RATE: [1], "prune": {"after_steps": 1, "rule": "halving", "reduction_factor": 1}},
            "sweep.prune.reduction_factor must be at least 2, got 1",
        ),
        (
            {RATE: [1], "prune": {"after_steps": 1, "step": "data"}},
            "must be a step of train or finetune that train needs",
        ),
        (
            {RATE: list(range(400)), BATCH: list(range(400))},
            "a grid of a sweep has at most 100,000 combinations, got 160000",
        ),
    ],
)
def test_each_mistake_is_one_line(sweep: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        workflow_of(sweep)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_which_step_is_measured_must_be_told_where_there_are_several() -> None:
    steps = {**STEPS, "other": STEPS["train"]}
    with pytest.raises(InputError, match="must say which step is measured, got .*; add measure: {step: NAME}"):
        sweep_of({"data.rows.seed": [1, 2]}, steps=steps)
    assert sweep_of({"other.seed": [1, 2]}, steps=steps).measured == "other"


def test_elsewhere_optuna_must_not_ask_for_all_at_once() -> None:
    job = {"platform": "vertex", "image": "i", "project": "p", "region": "r"}
    steps = {**STEPS, "train": {**STEPS["train"], "where": job}}
    sweep = {RATE: {"low": 1e-4, "high": 1e-2}, "method": "optuna", "runs": 12}
    with pytest.raises(
        InputError, match="must say how many runs are at work side by side, got None; give sweep.at_once"
    ):
        sweep_of(sweep, steps=steps)
    assert sweep_of({**sweep, "at_once": 4}, steps=steps).settings.at_once == 4


def test_no_step_is_called_as_a_key_of_the_recipe() -> None:
    with pytest.raises(InputError, match="and not output, values, limits, steps, sweep, got 'sweep'"):
        workflow_of(None, steps={"sweep": STEPS["data"]})
