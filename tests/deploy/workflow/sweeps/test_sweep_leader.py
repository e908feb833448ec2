"""Sweeps as they run, on a script in the place of the commands: what is shared, what is stopped, what a rerun does again."""

import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helper_folder import HELPERS
from processes import started
from sweeps import RATE, STEPS, journal, look_at, run, stand_in, write_recipe

from clozekit.deploy.workflow.sweeps.run_sweep import has_sweep
from clozekit.deploy.workflow.workflow_file import load_workflow
from clozekit.tokenizers.common.errors import InputError

LIMIT_SECONDS = 120
# Of the script: 10, less a twentieth of the steps, and a hundred times the rate.
RATES = [0.001, 0.002, 0.003]
LOSSES = [5.1, 5.2, 5.3]
SCORED = {**STEPS, "score": {"evaluate": {"preset": "${train.preset}", "dataset": "${data.output}"}}}


def begun(lines: list[str]) -> list[str]:
    """What was begun: the command, of trainings their rate and seed."""
    words = [line.split() for line in lines]
    return [" ".join(one[1:3]) if len(one) > 2 else one[1] for one in words if one[0] == "begun"]


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "sweep.json").read_text())
    return found


def states(folder: Path) -> list[str]:
    return [trial["state"] for trial in facts(folder)["trials"]]


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_shared_steps_run_once_trials_each_and_what_is_behind_them_for_the_best(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES[::-1]})
    leader, steps = run(tmp_path)
    assert begun(journal(tmp_path)) == ["prepare", "0.003 0", "0.002 0", "0.001 0", "convert", "compare"]
    assert [trial.mean for trial in leader.trials] == pytest.approx(LOSSES[::-1])
    result = leader.result()
    assert result.failure is None and result.best is not None
    assert (result.best[0].number, result.page, result.ended_by) == (3, "out/sweep.html", "")
    assert facts(tmp_path)["changes"] == [f"{RATE}=0.001"]
    # The steps behind go on with the run of the best, and the page has all runs.
    theirs = next(state.planned for state in steps if state.planned.name == "theirs")
    best_run = leader.trials[2].runs[0].measured
    assert theirs.block["sources"] == [f"{best_run.place}/preset"]
    pages = (tmp_path / "out" / "sweep.html").read_text().split()
    assert pages == [trial.runs[0].measured.place for trial in leader.trials]
    # Each is called by its trial, where many are looked at.
    assert "name: trial 3" in (tmp_path / best_run.folder / "settings.yaml").read_text()


def test_a_rerun_does_nothing_and_a_longer_list_only_what_is_new(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES[1:]})
    run(tmp_path)
    journal(tmp_path)
    leader, steps = run(tmp_path)
    assert journal(tmp_path) == []
    assert {state.phase for state in steps} == {"skipped"}
    assert leader.result().page == "out/sweep.html"
    leader, _ = run(tmp_path, f"sweep.{RATE}=[0.002, 0.003, 0.001]")
    assert begun(journal(tmp_path)) == ["0.001 0", "convert", "compare"]
    assert [trial.mean for trial in leader.trials] == pytest.approx([5.2, 5.3, 5.1])


def test_the_best_alone_runs_as_the_recipe_without_its_sweep(tmp_path: Path) -> None:
    """A step is known by what it is made from, and not by the sweep it was made in."""
    write_recipe(tmp_path, {RATE: RATES})
    leader, _ = run(tmp_path)
    with stand_in(tmp_path, {}):
        alone = load_workflow("recipe.yaml", ["sweep=null", *facts(tmp_path)["changes"]])
        assert not has_sweep(alone, None)
    best = leader.trials[0].runs[0]
    made = look_at(tmp_path, f"sweep.{RATE}=[1.0e-3]").trials[0].runs[0]
    assert (made.measured.fingerprint, made.measured.is_done) == (best.measured.fingerprint, True)


def test_each_point_runs_with_each_seed_and_the_mean_decides(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES[:2], "seeds": {"train.seed": [4, 0, 2]}})
    leader, steps = run(tmp_path)
    assert begun(journal(tmp_path)) == [
        *("prepare", "0.001 4", "0.001 0", "0.001 2", "0.002 4", "0.002 0", "0.002 2"),
        *("convert", "compare"),
    ]
    first = leader.trials[0]
    assert first.mean == pytest.approx(5.12)
    assert first.spread == pytest.approx(statistics.stdev([5.14, 5.1, 5.12]))
    # What comes behind goes on with the best of its seeds.
    assert facts(tmp_path)["changes"] == [f"{RATE}=0.001", "train.seed=0"]
    theirs = next(state.planned for state in steps if state.planned.name == "theirs")
    assert theirs.block["sources"] == [f"{first.runs[1].measured.place}/preset"]


def test_a_losing_run_is_stopped_stays_so_and_goes_on_without_the_rule(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: [*RATES, 0.05], "prune": {"after_steps": 40}})
    # It waits to be told.
    leader, _ = run(tmp_path, orders={"holds": {"0.05": 40}})
    assert states(tmp_path) == ["done", "done", "done", "pruned"]
    lines = journal(tmp_path)
    assert [line for line in lines if line.startswith("stopped")] == ["stopped 0.05 0 at 40"]
    run_of_it = leader.trials[3].runs[0]
    assert run_of_it.verdict is not None
    assert (run_of_it.verdict.step, run_of_it.verdict.value, run_of_it.verdict.needed) == pytest.approx((40, 13.0, 8.2))
    assert leader.result().failure is None
    # It is on the page with the others.
    assert str(run_of_it.measured.place) in (tmp_path / "out" / "sweep.html").read_text()
    run(tmp_path)
    assert (journal(tmp_path), states(tmp_path)[3]) == ([], "pruned")
    # By another rule it may be as good as others; with none it goes on where it was stopped.
    run(tmp_path, "sweep.prune=null")
    assert journal(tmp_path)[0] == "begun 0.05 0 from 40"
    assert states(tmp_path)[3] == "done"
    # What is done is not stopped any more.
    run(tmp_path)
    assert (states(tmp_path)[3], begun(journal(tmp_path))) == ("done", [])


# Rungs at 20, 40 and 80; of those at a rung the better half goes on.
HALVING = {"rule": "halving", "after_steps": 20, "reduction_factor": 2, "min_others": 1}


def verdicts(folder: Path) -> list[dict[str, Any]]:
    return sorted((json.loads(path.read_text())["verdict"] for path in folder.glob("out/steps/*/pruned.json")), key=str)


def test_halving_stops_who_is_not_in_the_better_half_of_its_rung(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: [0.003, 0.05, 0.002, 0.004], "prune": HALVING})
    leader, _ = run(tmp_path, orders={"holds": {"0.05": 20, "0.004": 20}})
    # The third is the best so far, the last one the third of four.
    assert states(tmp_path) == ["done", "pruned", "done", "pruned"]
    assert verdicts(tmp_path) == [
        pytest.approx({"step": 20, "value": value, "needed": needed}) for value, needed in ((14.0, 9.3), (9.4, 9.3))
    ]
    assert leader.best is not None and leader.best[0].number == 3
    # A rule that was changed judges anew: both go on where they were, with too few to be compared with.
    journal(tmp_path)
    run(tmp_path, "sweep.prune.min_others=4")
    assert begun(lines := journal(tmp_path)) == ["0.05 0", "0.004 0", "compare"]
    assert [line for line in lines if "from 20" in line] == ["begun 0.05 0 from 20", "begun 0.004 0 from 20"]


def test_a_killed_leader_halves_alike(tmp_path: Path) -> None:
    sweep = {RATE: [0.003, 0.05, 0.002, 0.004, 0.001], "prune": HALVING}
    holds = {"0.05": 20, "0.004": 20}
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    for folder in (tmp_path, undisturbed):
        write_recipe(folder, sweep)
    run(undisturbed, orders={"holds": holds})
    kill_leader(tmp_path, {"holds": {**holds, "0.002": 50}}, "0.002", [2, 5, 10])
    run(tmp_path, orders={"holds": holds})
    assert begun(journal(tmp_path)) == ["0.002 0", "0.004 0", "0.001 0", "convert", "compare"]
    assert states(tmp_path) == states(undisturbed) == ["done", "pruned", "done", "pruned", "done"]
    assert verdicts(tmp_path) == verdicts(undisturbed)


@pytest.mark.parametrize("prune", [HALVING, {"after_steps": 20, "min_others": 1}])
def test_who_has_lost_when_a_leader_ends_is_not_begun_again(tmp_path: Path, prune: dict[str, Any]) -> None:
    write_recipe(tmp_path, {RATE: [0.003, 0.05], "prune": prune})

    def end(leader: Any, states: Any) -> None:
        if len(leader.trials) == 2 and leader.trials[1].runs[0].last_step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "sweep.prune=null", orders={"holds": {"0.05": 20}}, tell=end)
    assert "stopped 0.05 0 at 20" in journal(tmp_path)
    run(tmp_path)
    assert (states(tmp_path), begun(journal(tmp_path))) == (["done", "pruned"], ["convert", "compare"])


def test_with_one_seed_the_other_seeds_of_a_losing_point_end(tmp_path: Path) -> None:
    sweep = {RATE: [0.001, 0.05], "seeds": {"train.seed": [0, 1, 2]}, "prune": {"after_steps": 40}}
    write_recipe(tmp_path, sweep)
    leader, _ = run(tmp_path, orders={"holds": {"0.05": 40}})
    assert states(tmp_path) == ["done", "pruned"]
    assert begun(journal(tmp_path))[4:] == ["0.05 0", "convert", "compare"]
    assert [one.state for one in leader.trials[1].runs] == ["pruned", "stopped", "stopped"]
    run(tmp_path)
    assert journal(tmp_path) == []


def test_runs_of_a_trial_are_not_compared_with_each_other(tmp_path: Path) -> None:
    sweep = {RATE: [0.001], "seeds": {"train.seed": [0, 1, 2, 3, 400]}, "prune": {"after_steps": 10}}
    write_recipe(tmp_path, sweep)
    run(tmp_path)
    assert states(tmp_path) == ["done"]


def test_what_evaluate_says_can_decide(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES, "measure": {"step": "score", "metric": "accuracy"}}, SCORED)
    leader, steps = run(tmp_path)
    assert [trial.mean for trial in leader.trials] == pytest.approx([1 / loss for loss in LOSSES])
    assert begun(journal(tmp_path)).count("evaluate") == 3
    assert leader.best is not None and leader.best[0].number == 1
    run(tmp_path, "sweep.measure={step: score, metric: of.loss}")
    assert [trial["mean"] for trial in facts(tmp_path)["trials"]] == pytest.approx(LOSSES)
    assert journal(tmp_path) == []


def test_what_measures_nothing_is_a_failure_that_says_so(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES[:1], "measure": {"metric": "f1"}})
    leader, _ = run(tmp_path)
    failure = leader.result().failure
    assert str(failure) == "of 1 trials 1 failed, 1 first: it has measured no f1"


def test_a_failed_trial_is_noted_and_the_sweep_goes_on(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES})
    leader, steps = run(tmp_path, orders={"fails": [0.001]})
    assert states(tmp_path) == ["failed", "done", "done"]
    failure, best = leader.result().failure, leader.best
    assert failure is not None and best is not None
    log = next(state.log for state in steps if state.phase == "failed")
    assert str(failure) == (
        "of 3 trials 1 failed: step train (train) failed with status 2: the loss is no number; its log is"
        f" {log}; mend what is wrong and run the same command again"
    )
    assert (failure.exit_status, best[0].number) == (2, 2)
    assert begun(journal(tmp_path))[-2:] == ["convert", "compare"]
    # Run again, it is tried again, and the best may be another.
    leader, _ = run(tmp_path)
    assert (states(tmp_path), leader.result().failure) == (["done"] * 3, None)
    assert begun(journal(tmp_path)) == ["0.001 0", "convert", "compare"]


def test_where_a_shared_step_fails_no_trial_is_begun(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES})
    (tmp_path / "out" / "steps").mkdir(parents=True)
    # The script can't write there.
    folder = look_at(tmp_path).shared()[0].folder
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "dataset").write_text("in the way")
    leader, _ = run(tmp_path)
    assert states(tmp_path) == ["stopped"] * 3
    assert "step data (prepare) failed with status 1" in str(leader.result().failure)
    assert begun(journal(tmp_path)) == ["prepare"]


@pytest.mark.parametrize("budget", [{"hours": 1e-7}, {"cost": 1e-6, "price_per_hour": 100.0}])
def test_a_budget_ends_the_sweep_as_a_stop_does(tmp_path: Path, budget: dict[str, float]) -> None:
    write_recipe(tmp_path, {RATE: RATES, **budget})
    # It waits to be told.
    leader, _ = run(tmp_path, orders={"holds": {"0.001": 50}})
    assert states(tmp_path) == ["stopped"] * 3
    assert not [line for line in journal(tmp_path) if line.startswith("ended")]
    name = next(iter(budget))
    assert str(leader.result().failure) == (
        f"no trial of the sweep has come to its end, sweep.{name} is used up; raise it and run the same command again"
    )
    # It stays used up, over all starts.
    run(tmp_path)
    assert begun(journal(tmp_path)) == []
    leader, _ = run(tmp_path, f"sweep.{name}=1000")
    assert begun(journal(tmp_path)) == ["0.001 0", "0.002 0", "0.003 0", "convert", "compare"]
    assert (leader.result().failure, leader.result().ended_by) == (None, "")


def test_runs_are_a_budget_that_counts_seeds(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES, "seeds": {"train.seed": [0, 1]}, "runs": 5})
    run(tmp_path)
    assert begun(journal(tmp_path))[1:-2] == ["0.001 0", "0.001 1", "0.002 0", "0.002 1"]


def kill_leader(folder: Path, orders: dict[str, Any], rate: str, measured: list[int]) -> None:
    """A leader that is killed while the run of a rate waits at step 50. measured: how many validations each run has by then, the
    fewest first."""
    with started(str(HELPERS / "sweeps.py"), str(folder), json.dumps(orders)) as leader:
        path = folder / "journal.txt"
        log = "out/steps/train-*/run/metrics.jsonl"
        wait_until(lambda: path.exists() and f"begun {rate} 0" in path.read_text())
        wait_until(lambda: sorted(len(one.read_text().splitlines()) for one in folder.glob(log)) == measured)
        leader.kill()
    # The command of the step hears that its leader is gone.
    wait_until(lambda: f"stopped {rate} 0 at 50" in path.read_text())
    journal(folder)


@pytest.mark.parametrize("method", ["grid", "random", "optuna"])
def test_a_killed_leader_goes_on_with_the_same_trials_and_does_nothing_again(tmp_path: Path, method: str) -> None:
    rates = {"low": 1e-3, "high": 2e-2, "points": 5}
    write_recipe(tmp_path, {RATE: rates, "method": method, "runs": 5})
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    write_recipe(undisturbed, {RATE: rates, "method": method, "runs": 5})
    run(undisturbed)
    whole = facts(undisturbed)
    third = str(whole["trials"][2]["values"][RATE])
    orders = {"holds": {third: 50}}
    kill_leader(tmp_path, orders, third, [5, 10, 10])
    leader, _ = run(tmp_path)
    lines = journal(tmp_path)
    assert lines[0] == f"begun {third} 0 from 50"
    later = [str(trial["values"][RATE]) for trial in whole["trials"][3:]]
    assert begun(lines) == [f"{third} 0", *(f"{rate} 0" for rate in later), "convert", "compare"]
    assert leader.result().failure is None
    now = facts(tmp_path)
    assert [trial["values"] for trial in now["trials"]] == [trial["values"] for trial in whole["trials"]]
    assert [trial["mean"] for trial in now["trials"]] == [trial["mean"] for trial in whole["trials"]]
    assert (now["best"], now["changes"]) == (whole["best"], whole["changes"])


def test_optuna_asks_anew_when_the_recipe_is_another(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: {"low": 1e-3, "high": 2e-2}, "method": "optuna", "runs": 3})
    run(tmp_path)
    before = [trial["values"] for trial in facts(tmp_path)["trials"]]
    assert len(look_at(tmp_path).trials) == 3
    # More runs are more of the same sweep; another seed is another sweep.
    assert [one.point for one in look_at(tmp_path, "sweep.runs=5").trials] == before
    assert look_at(tmp_path, "sweep.seed=1").trials == []
    assert look_at(tmp_path, "train.train.steps=50").trials == []


def test_trials_run_side_by_side_where_there_is_room(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES}, cores=2)
    together = set()

    def tell(leader: Any, states: Any) -> None:
        running = [state.planned.key for state in states if state.phase == "running"]
        together.add(len(running))
        if len(running) == 2:
            (tmp_path / "go").touch()

    holds = {"0.001": 10, "0.002": 10}
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two runs side by side need two cores")
    run(tmp_path, orders={"holds": holds, "releases": str(tmp_path / "go")}, tell=tell)
    assert max(together) == 2


def test_no_more_runs_are_at_work_than_may_be(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES, "at_once": 1}, cores=2)
    together = set()

    def tell(leader: Any, states: Any) -> None:
        together.add(sum(state.phase == "running" for state in states))
        assert [trial.number for trial in leader.trials] == [1, 2, 3]

    run(tmp_path, tell=tell)
    assert (max(together), states(tmp_path)) == (1, ["done"] * 3)
    assert begun(journal(tmp_path)) == ["prepare", "0.001 0", "0.002 0", "0.003 0", "convert", "compare"]
    # What was not handed out when the budget ended is stopped too.
    run(tmp_path, "train.train.steps=99", "sweep.hours=1.0e-7", orders={"holds": {"0.001": 50}})
    assert states(tmp_path) == ["stopped"] * 3


def test_a_step_that_some_trials_share_is_not_stopped_with_one_of_them(tmp_path: Path) -> None:
    """Each seed has its own dataset, the same in all trials."""
    write_recipe(tmp_path, {RATE: RATES, "seeds": {"data.rows.seed": [1]}})
    run(tmp_path)
    journal(tmp_path)
    # The first of trial 1 is stopped while the dataset of the second seed waits.
    write_recipe(tmp_path, {RATE: [0.05, *RATES], "seeds": {"data.rows.seed": [1, 2]}, "prune": {"after_steps": 40}})
    run(tmp_path, orders={"holds": {"0.05": 40}})
    assert states(tmp_path) == ["pruned", "done", "done", "done"]
    assert begun(journal(tmp_path)) == ["0.05 0", "prepare", "0.001 0", "0.002 0", "0.003 0", "compare"]


def test_values_of_the_recipe_are_tried_in_all_steps_that_have_them(tmp_path: Path) -> None:
    steps = copy.deepcopy(STEPS)
    steps["train"]["train"]["optimizer"] = {"learning_rate": "${values.rate}"}
    write_recipe(tmp_path, {"values.rate": RATES}, steps)
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "values": {"rate": 1}}))
    leader, _ = run(tmp_path)
    assert [trial.mean for trial in leader.trials] == pytest.approx(LOSSES)
    assert facts(tmp_path)["changes"] == ["values.rate=0.001"]


def test_one_folder_for_all_trials_is_refused(tmp_path: Path) -> None:
    steps = copy.deepcopy(STEPS)
    steps["train"]["train"]["directory"] = "runs/mine"
    write_recipe(tmp_path, {RATE: RATES}, steps)
    with pytest.raises(InputError) as error:
        run(tmp_path)
    assert str(error.value) == (
        "trial 1 of the sweep (learning_rate 0.001): each trial of a sweep writes into a folder of its own, step train of"
        " recipe.yaml has the directory runs/mine for all; leave directory out"
    )


def test_files_of_others_in_the_folder_are_not_written_over(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.html").write_text("my own")
    with pytest.raises(InputError, match="holds what Clozekit did not write there: sweep.html"):
        run(tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sweep.html"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES})
    made = look_at(tmp_path)
    assert not (tmp_path / "out").exists()
    assert [one.name for one in made.shared()] == ["data"]
    assert [one.name for one in made.behind()] == ["theirs"]
    assert (len(made.trials), made.has_more) == (3, False)


def test_until_a_step(tmp_path: Path) -> None:
    write_recipe(tmp_path, {RATE: RATES}, SCORED)
    with stand_in(tmp_path, {}):
        workflow = load_workflow("recipe.yaml")
        assert [has_sweep(workflow, until) for until in (None, "train", "score", "data")] == [True, True, True, False]
        other = load_workflow("recipe.yaml", ["sweep.measure.step=score"])
        with pytest.raises(InputError, match="--until must be score, which the sweep measures, a step behind it, or"):
            has_sweep(other, "train")
    run(tmp_path, until="train")
    assert begun(journal(tmp_path)) == ["prepare", "0.001 0", "0.002 0", "0.003 0", "compare"]


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        (
            {RATE: [0.001, "high"]},
            "trial 2 of the sweep (learning_rate high): optimizer.learning_rate must be float, step train of"
            " recipe.yaml has 'high'",
        ),
        (
            {RATE: [0.001], "train.optimizer.rate": [1, 2]},
            "trial 1 of the sweep (learning_rate 0.001, rate 1): every key of a configuration must be known",
        ),
        (
            {"train.checkpoint.every_steps": [5, 10]},
            "each run of a sweep must be another, trials 1 and 2 of recipe.yaml are the same; take out the setting"
            " that changes nothing of what train writes",
        ),
    ],
)
def test_settings_that_can_not_be_run_are_refused_before_anything_is(tmp_path: Path, sweep: Any, says: str) -> None:
    write_recipe(tmp_path, copy.deepcopy(sweep))
    with pytest.raises(InputError) as error:
        run(tmp_path)
    assert str(error.value).startswith(says)
    assert not (tmp_path / "out").exists()


def test_what_is_drawn_and_refused_is_noted_and_the_sweep_goes_on(tmp_path: Path) -> None:
    sweep = {"train.model.num_heads": {"low": 1, "high": 4, "whole": True}, "method": "optuna", "runs": 4}
    steps = copy.deepcopy(STEPS)
    steps["train"]["train"]["model"] = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
    steps["train"]["train"]["optimizer"] = {"learning_rate": 0.001}
    write_recipe(tmp_path, sweep, steps)
    leader, _ = run(tmp_path)
    by_heads = {trial.point["train.model.num_heads"]: trial for trial in leader.trials}
    assert {heads: trial.state for heads, trial in by_heads.items()} == {1: "done", 2: "done", 3: "failed", 4: "done"}
    assert "trial" in by_heads[3].refused
    assert "hidden_dim" in str(leader.result().failure)
