"""A sweep on the screen of `clozekit run`: a line a trial while it goes on, the table of its trials, what it would run."""

from collections.abc import Sequence
from typing import Any

from clozekit.deploy.cli.step_screen import ScreenRow, row_of
from clozekit.deploy.workflow.run_steps import DONE, FAILED, PRUNED, RUNNING, STOPPED, StepState
from clozekit.deploy.workflow.sweeps.plan_sweep import SweepPlan
from clozekit.deploy.workflow.sweeps.sweep_leader import SweepLeader, SweepResult
from clozekit.deploy.workflow.sweeps.sweep_trials import Trial, TrialRun, shown_values, trial_facts

_DASH = "-"


def screen_rows(leader: SweepLeader, states: Sequence[StepState]) -> list[ScreenRow]:
    """The steps that trials share, each once; a line a trial; the steps behind them, when they have come."""
    varied = leader.sweep.varied
    before = [row_of(state) for state in states if state.planned.name not in varied and not _is_behind(leader, state)]
    behind = [row_of(state) for state in states if _is_behind(leader, state)]
    return [*before, *(_trial_row(trial) for trial in leader.trials), *behind]


def _is_behind(leader: SweepLeader, state: StepState) -> bool:
    return state.planned.key in leader.behind


def _trial_row(trial: Trial) -> ScreenRow:
    values = " ".join(f"{name}={value}" for name, value in shown_values(trial.point).items())
    parts = [" ".join(part for part in (f"trial {trial.number}", values) if part) + f": {trial.state}"]
    if trial.mean is not None:
        parts.append(_mean(trial))
    elif trial.state == PRUNED:
        parts += [_losing(trial)]
    elif trial.state == FAILED:
        parts.append(trial.refused or next((run.last for run in trial.runs if run.state == FAILED), ""))
    elif trial.state in (RUNNING, STOPPED):
        if len(trial.runs) > 1:
            parts.append(f"{sum(run.state == DONE for run in trial.runs)} of {len(trial.runs)} seeds done")
        if trial.state == RUNNING:
            parts.append(next((run.last for run in trial.runs if run.state == RUNNING and run.last), ""))
    last = " ".join(run.last for run in trial.runs)
    return ScreenRow(f"trial {trial.number}", trial.state, ", ".join(part for part in parts if part), last)


def _losing(trial: Trial) -> str:
    found = next((run.verdict for run in trial.runs if run.verdict is not None), None)
    return "" if found is None else f"{found.value:.4f} at step {found.step:,}, {found.needed:.4f} was needed"


def _mean(trial: Trial) -> str:
    assert trial.mean is not None
    return f"{trial.mean:.4f}" + ("" if trial.spread is None else f" ± {trial.spread:.4f}")


def sweep_lines(leader: SweepLeader, result: SweepResult) -> list[str]:
    """The table of the trials, what is best, where the page is."""
    metric = leader.sweep.settings.measure.metric
    lines = table_of(result.trials, metric)
    if result.best is not None:
        trial, run = result.best
        values = " ".join(leader.facts()["changes"])
        of_seeds = " (the best of its seeds)" if len(trial.runs) > 1 else ""
        lines.append(f"best: trial {trial.number}, {metric} {_mean(trial)}: {values}{of_seeds}")
    if result.ended_by:
        lines.append(f"ended as sweep.{result.ended_by} is used up; raise it and run again to go on")
    if result.page is not None:
        lines.append(f"page {result.page}")
    return lines


def table_of(trials: Sequence[Trial], metric: str) -> list[str]:
    """A line a trial: its values, the mean of its seeds with their spread, its steps, its state."""
    names = list(shown_values(trials[0].point)) if trials else []
    rows = [["trial", *names, metric, "steps", "state"]]
    for trial in trials:
        values = shown_values(trial.point).values()
        state = trial.state if trial.state != PRUNED else f"pruned: {_losing(trial)}".removesuffix(": ")
        steps = max((run.last_step for run in trial.runs), default=0)
        mean = _DASH if trial.mean is None else _mean(trial)
        rows.append([str(trial.number), *values, mean, f"{steps:,}" if steps else _DASH, state])
    return _in_columns(rows)


def _in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are on the right, the last one on the left."""
    *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([*(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]


def plan_lines(made: SweepPlan) -> list[str]:
    """What a sweep would run: its trials, what of them is done, how many may come, what runs behind the best."""
    rows = [["trial", *shown_values(trial.point), "runs"] for trial in made.trials[:1]]
    for trial in made.trials:
        rows.append([str(trial.number), *shown_values(trial.point).values(), _to_run(made, trial)])
    lines = _in_columns(rows) if rows else []
    phases = [_phase(made, trial, run) for trial in made.trials for run in trial.runs]
    number = sum(phase in ("run", "resume") for phase in phases)
    runs = len(made.sweep.seed_choices)
    known, most = len(made.trials), made.sweep.most_points
    total = f"{known} trials" if not made.has_more else f"{known} trials so far"
    of_seeds = f", {runs} seeds each" if runs > 1 else ""
    lines.append(f"{total}{of_seeds}: {number} of {known * runs} runs to do")
    if made.has_more:
        end = f"up to {most} trials" if most is not None else "more until a budget ends it"
        lines.append(f"{end}, chosen by method {made.sweep.settings.method} as it goes on")
    behind = ", ".join(one.name for one in made.behind())
    if behind:
        lines.append(f"then, for the best trial: {behind}")
    return lines


def _to_run(made: SweepPlan, trial: Trial) -> str:
    phases = [_phase(made, trial, run) for run in trial.runs]
    if len(phases) == 1:
        return phases[0]
    return ", ".join(f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases))


def _phase(made: SweepPlan, trial: Trial, run: TrialRun) -> str:
    if run.measured.is_done:
        return "done"
    # Of a losing trial the other seeds end with it.
    if any(made.noted_verdict(other) is not None for other in trial.runs):
        return PRUNED
    open_steps = [one for one in run.steps if one.name in made.sweep.varied and not one.is_done]
    return "resume" if any(one.is_begun for one in open_steps) else "run"


def plan_facts(made: SweepPlan) -> dict[str, Any]:
    """As JSON: the trials that are known, and whether more may come."""
    trials = []
    for trial in made.trials:
        facts = trial_facts(trial)
        for run, one in zip(trial.runs, facts["runs"], strict=True):
            one["state"] = _phase(made, trial, run)
        trials.append({**facts, "state": _to_run(made, trial)})
    return {"most_trials": made.sweep.most_points, "has_more": made.has_more, "trials": trials}
