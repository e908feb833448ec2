"""Leads the trials of a sweep: begins, measures and stops them, ends with its budgets, goes on with the best."""

import dataclasses
import itertools
import json
import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.workflow.plan_steps import PlannedStep
from clozekit.deploy.workflow.run_steps import (
    DONE,
    FAILED,
    PRUNED,
    RUNNING,
    STOPPED,
    WAITING,
    StepFailedError,
    StepRunner,
    StepState,
)
from clozekit.deploy.workflow.step_record import read_json
from clozekit.deploy.workflow.sweeps.plan_sweep import MOST_REFUSED, PRUNED_FILE, SWEEP_FILE, SweepPlan
from clozekit.deploy.workflow.sweeps.rules import optuna_points
from clozekit.deploy.workflow.sweeps.rules.prune_rule import Verdict, verdict
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import TRAINED
from clozekit.deploy.workflow.sweeps.run_measures import RunLogs, answered
from clozekit.deploy.workflow.sweeps.sweep_trials import (
    Trial,
    TrialRun,
    best_run,
    best_trial,
    changes_of,
    run_directory,
    trial_facts,
)
from clozekit.model.training.run_directory.run_files import CONFIG_FILE
from clozekit.tokenizers.storage.file_systems import open_file_system, write_text

_LOOK_SECONDS, _SAVE_SECONDS = 0.5, 10.0


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to. ended_by: the budget that ended it, "" where all was run; best: a trial and the run of it that the
    steps behind go on with; page: where it is, None where fewer than two runs had begun; failure: what failed, one line."""

    trials: Sequence[Trial]
    best: tuple[Trial, TrialRun] | None
    ended_by: str
    page: str | None
    failure: StepFailedError | None


class SweepLeader:
    """Directs a StepRunner through a sweep: `direct` is called before each look that it takes at its steps."""

    def __init__(self, made: SweepPlan, tell: Callable[["SweepLeader", Sequence[StepState]], None]) -> None:
        self._plan, self._tell = made, tell
        self.sweep, self._workflow = made.sweep, made.workflow
        self._settings = self.sweep.settings
        self._logs = RunLogs()
        self._runner: StepRunner | None = None
        self._looked = self._saved_at = self._counted = 0.0
        self._saved: dict[str, Any] = {}
        found = read_json(self._path) or {}
        # Hours are those of all starts of this sweep.
        self._seconds = float(found.get("seconds", 0.0)) if found.get("identity") == made.identity else 0.0
        self.ended_by = ""
        self._is_final = False
        self._page: PlannedStep | None = None
        # Numbers of the trials whose steps the runner has.
        self._handed: set[int] = set()
        # Keys of what runs once, when the trials have ended.
        self.behind: set[str] = set()

    @property
    def trials(self) -> list[Trial]:
        return self._plan.trials

    @property
    def _path(self) -> str:
        return posixpath.join(self._workflow.output, SWEEP_FILE)

    def lead(self, runner: StepRunner) -> None:
        """Takes the runner that will call `direct`, and hands it what there is."""
        self._runner = runner
        for trial in self.trials:
            if all(run.measured.is_done or self._plan.noted_verdict(run) for run in trial.runs):
                self._hand_over(trial)

    def shown(self, states: Sequence[StepState]) -> None:
        self._tell(self, states)

    def _hand_over(self, trial: Trial) -> None:
        assert self._runner is not None
        self._handed.add(trial.number)
        for run in trial.runs:
            varied = [one for one in run.steps if one.name in self.sweep.varied]
            self._runner.add([one for one in run.steps if one.name not in self.sweep.varied])
            self._runner.add(varied, is_noted=False)
            run.verdict = self._plan.noted_verdict(run)
            if run.verdict is not None:
                self._runner.stop(self._runner.state_of(self._pruned_step(run)), PRUNED)
        self._look_at(trial)

    def _pruned_step(self, run: TrialRun) -> PlannedStep:
        assert self.sweep.pruned is not None
        return run.step(self.sweep.pruned)

    def direct(self) -> None:
        """Looks at the trials, stops those that lose, begins others, ends the sweep, and then hands over what comes behind it."""
        assert self._runner is not None
        now = time.monotonic()
        is_idle = all(state.has_ended for state in self._runner.states)
        if self._is_final or not (is_idle or now - self._looked >= _LOOK_SECONDS or self._has_changed()):
            return
        self._looked = now
        self._count_time(now)
        for trial in self.trials:
            self._look_at(trial)
        if not self.ended_by and (spent := self._used_up()):
            self.ended_by = spent
            self._stop_trials(self.trials)
        no_more = bool(self.ended_by)
        while not self.ended_by:
            no_more = self._begin_next()
            # A trial whose earlier start has measured enough is not begun again to be stopped, and leaves its room to the next.
            if not self._prune():
                break
        if no_more and all(trial.has_ended for trial in self.trials):
            self._go_on_with_best()
        self._save(now)

    def _has_changed(self) -> bool:
        return any(self._state_now(run) != run.state for trial in self.trials for run in trial.runs)

    def _varied_states(self, run: TrialRun) -> list[StepState]:
        """The steps that are the trial's own; none before they were handed over."""
        assert self._runner is not None
        varied = [one for one in run.steps if one.name in self.sweep.varied]
        return [self._runner.state_of(one) for one in varied if self._runner.has(one)]

    def _state_now(self, run: TrialRun) -> str:
        states = self._varied_states(run)
        if not states:
            return run.state
        phases = {state.phase for state in states}
        if states[-1].is_done:
            return DONE
        if states[-1].has_ended:
            return next(phase for phase in (FAILED, PRUNED, STOPPED) if phase in phases)
        return RUNNING if RUNNING in phases else WAITING

    def _look_at(self, trial: Trial) -> None:
        metric = self._settings.measure.metric
        for run in trial.runs:
            run.state = self._state_now(run)
            states = self._varied_states(run)
            run.seconds = sum(state.spent for state in states)
            speaking = [state for state in states if state.phase in (RUNNING, FAILED)]
            run.last = speaking[-1].last if speaking else ""
            trained = [one for one in run.steps if one.step.verb in TRAINED and one.name in self.sweep.varied]
            if trained:
                run.last_step = self._logs.last_step(run_directory(trained[-1]))
            if run.state == DONE and run.value is None:
                run.value = self._measure(run)
                if run.value is None:
                    run.state, run.last = FAILED, f"it has measured no {metric}"

    def _measure(self, run: TrialRun) -> float | None:
        """What decides: of a pretraining, whose preset has the last weights, the last validation; of a fine-tuning, whose preset has
        the best, the best; of `evaluate` its answer."""
        metric, measured = self._settings.measure.metric, run.measured
        if measured.step.verb not in TRAINED:
            assert measured.place is not None
            return answered(measured.place, metric)
        values = [value for _, value in self._logs.course(run_directory(measured), metric)]
        if measured.step.verb == "train" or not values:
            return values[-1] if values else None
        return min(values) if self._settings.measure.is_lowest_best else max(values)

    def _prune(self) -> bool:
        """Stops the runs that lose; whether one of them had not begun."""
        if self._settings.prune is None:
            return False
        assert self._runner is not None
        metric, is_lowest = "loss", True
        if self.sweep.pruned == self.sweep.measured:
            metric, is_lowest = self._settings.measure.metric, self._settings.measure.is_lowest_best
        courses = {
            id(run): self._logs.course(run_directory(self._pruned_step(run)), metric)
            for trial in self.trials
            for run in trial.runs
        }
        is_room_left = False
        for trial in self.trials:
            others = [courses[id(run)] for other in self.trials if other is not trial for run in other.runs]
            for run in trial.runs:
                planned = self._pruned_step(run)
                # One that waits has measured something where an earlier leader ended before it could stop it.
                if run.state not in (RUNNING, WAITING) or not self._runner.has(planned):
                    continue
                state, course = self._runner.state_of(planned), courses[id(run)]
                if state.phase not in (RUNNING, WAITING) or state.becomes:
                    continue
                found = verdict(course, others, self._settings.prune, is_lowest)
                if found is not None and course[-1][0] < _steps_of(planned):
                    self._note_verdict(run, found)
                    is_room_left = is_room_left or state.phase == WAITING
                    self._runner.stop(state, PRUNED)
            if any(run.verdict is not None for run in trial.runs):
                self._stop_trials([trial])
        return is_room_left

    def _note_verdict(self, run: TrialRun, found: Verdict) -> None:
        # First: a leader that is killed now finds that it was decided.
        assert self._settings.prune is not None
        facts = {"rule": dataclasses.asdict(self._settings.prune), "verdict": dataclasses.asdict(found)}
        write_text(posixpath.join(self._pruned_step(run).folder, PRUNED_FILE), json.dumps(facts, indent=1) + "\n")
        run.verdict = found

    def _stop_trials(self, trials: Sequence[Trial]) -> None:
        assert self._runner is not None
        others = [trial for trial in self.trials if trial not in trials and not trial.has_ended]
        needed = {one.key for trial in others for run in trial.runs for one in run.steps}
        for trial in trials:
            for run in trial.runs:
                if trial.number not in self._handed:
                    run.state = STOPPED
                for state in self._varied_states(run):
                    # Trials may share a step that is not the same in all.
                    if state.planned.key not in needed:
                        self._runner.stop(state)
                run.state = self._state_now(run)

    def _count_time(self, now: float) -> None:
        is_at_work = any(run.state == RUNNING for trial in self.trials for run in trial.runs)
        if is_at_work and self._counted:
            self._seconds += now - self._counted
        self._counted = now

    @property
    def hours(self) -> float:
        return self._seconds / 3600

    @property
    def cost(self) -> float | None:
        """Of all runs so far; what they share counts once."""
        price = self._settings.price_per_hour
        if price is None or self._runner is None:
            return None
        states = {
            state.planned.key: state
            for trial in self.trials
            for run in trial.runs
            for state in self._varied_states(run)
        }
        return price * sum(state.spent for state in states.values()) / 3600

    def _used_up(self) -> str:
        """The budget that is used up while there is still something to do; "" for none."""
        if all(trial.has_ended for trial in self.trials) and len(self.trials) == self.sweep.most_points:
            return ""
        if self._settings.hours is not None and self.hours >= self._settings.hours:
            return "hours"
        cost = self.cost
        return "cost" if cost is not None and self._settings.cost is not None and cost >= self._settings.cost else ""

    def _begin_next(self) -> bool:
        """Begins further trials while there is room for their runs; whether no more will come."""
        assert self._runner is not None
        for trial in self.trials:
            if trial.number not in self._handed and not trial.refused:
                if not self._may_begin():
                    return False
                self._hand_over(trial)
        measured = self._workflow.steps[self.sweep.measured]
        refused = list(itertools.takewhile(lambda trial: trial.refused, reversed(self.trials)))
        while len(refused) < MOST_REFUSED:
            if not self._may_begin() or not self._runner.has_room(measured):
                return False
            found = self._plan.add_next([self._told(one) for one in self.trials])
            if found is None:
                return True
            if found.refused:
                refused.append(found)
                continue
            refused = []
            self._hand_over(found)
        return True

    def _may_begin(self) -> bool:
        """Whether one more trial is no more than may be at work side by side."""
        most = self._settings.at_once
        handed = [trial for trial in self.trials if trial.number in self._handed]
        open_runs = sum(run.state in (WAITING, RUNNING) for trial in handed for run in trial.runs)
        return most is None or not open_runs or open_runs + len(self.sweep.seed_choices) <= most

    def _told(self, trial: Trial) -> optuna_points.Told:
        """A trial in Optuna's words."""
        if trial.mean is not None:
            return optuna_points.Told(trial.point, optuna_points.COMPLETE, trial.mean)
        verdicts = [run.verdict for run in trial.runs if run.verdict is not None]
        if trial.state == PRUNED and verdicts and self.sweep.pruned == self.sweep.measured:
            return optuna_points.Told(trial.point, optuna_points.PRUNED, course={verdicts[0].step: verdicts[0].value})
        state = optuna_points.FAILED if trial.has_ended else optuna_points.RUNNING
        return optuna_points.Told(trial.point, state)

    def _go_on_with_best(self) -> None:
        """What is not a trial's comes now: the steps behind the measured one, for the best, and the page."""
        assert self._runner is not None
        self._is_final = True
        found = self.best
        if found is not None:
            trial, run = found
            steps = self._plan.all_steps(trial.number, trial.point, run.seeds)
            self.behind = {one.key for one in steps} - {one.key for one in run.steps}
            self._runner.add(steps)
        runs = [run for trial in self.trials for run in trial.runs]
        trained = [(step, run.state) for run in runs if (step := self._compared_step(run)) is not None]
        unique = list({step.key: (step, state) for step, state in trained}.values())
        if len(unique) > 1:
            self._page = self._plan.page([step for step, _ in unique], [state for _, state in unique])
            self.behind.add(self._page.key)
            self._runner.add([self._page], is_noted=False)

    def _compared_step(self, run: TrialRun) -> PlannedStep | None:
        """The training of a run that the page shows: the last that is the trial's own, once it has begun to write."""
        trained = [one for one in run.steps if one.step.verb in TRAINED and one.name in self.sweep.varied]
        if not trained:
            return None
        filesystem, name = open_file_system(posixpath.join(run_directory(trained[-1]), CONFIG_FILE))
        return trained[-1] if filesystem.isfile(name) else None

    @property
    def best(self) -> tuple[Trial, TrialRun] | None:
        is_lowest = self._settings.measure.is_lowest_best
        trial = best_trial(self.trials, is_lowest)
        return None if trial is None else (trial, best_run(trial, is_lowest))

    def save(self) -> None:
        """Notes how the sweep stands."""
        for trial in self.trials:
            self._look_at(trial)
        self._saved_at = 0.0
        self._save(time.monotonic())

    def _save(self, now: float) -> None:
        facts = self.facts()
        # A run that goes on is no news.
        news = json.dumps([[one["state"], one["mean"]] for one in facts["trials"]]), facts["ended_by"]
        if news != self._saved.get("news") or now - self._saved_at >= _SAVE_SECONDS:
            self._saved, self._saved_at = {"news": news}, now
            write_text(self._path, json.dumps(facts, indent=1) + "\n")

    def facts(self) -> dict[str, Any]:
        """The sweep as JSON has it: sweep.json and the answer of `--json`."""
        best = self.best
        measure = self._settings.measure
        return {
            "identity": self._plan.identity,
            "measure": {
                "step": self.sweep.measured,
                "metric": measure.metric,
                "best": "lowest" if measure.is_lowest_best else "highest",
            },
            "ended_by": self.ended_by or None,
            "seconds": round(self._seconds, 3),
            "cost": self.cost,
            "best": None if best is None else best[0].number,
            "changes": None if best is None else changes_of({**best[0].point, **best[1].seeds}),
            "trials": [trial_facts(trial) for trial in self.trials],
        }

    def result(self) -> SweepResult:
        """What it came to, when the runner has nothing left to do."""
        assert self._runner is not None
        page = self._page
        is_written = page is not None and self._runner.state_of(page).is_done
        place = page.place if page is not None and is_written else None
        return SweepResult(self.trials, self.best, self.ended_by, place, self._failure())

    def _failure(self) -> StepFailedError | None:
        assert self._runner is not None
        failure = self._runner.failure()
        failed = [trial for trial in self.trials if trial.state == FAILED]
        if failure is not None and failed:
            numbers = ", ".join(str(trial.number) for trial in failed)
            return StepFailedError(f"of {len(self.trials)} trials {numbers} failed: {failure}", failure.exit_status)
        if failure is not None:
            return failure
        if failed:
            trial = failed[0]
            why = trial.refused or next((run.last for run in trial.runs if run.state == FAILED), "")
            return StepFailedError(f"of {len(self.trials)} trials {len(failed)} failed, {trial.number} first: {why}", 1)
        if self.best is None:
            why = f"sweep.{self.ended_by} is used up; raise it and run" if self.ended_by else "all were stopped; run"
            return StepFailedError(f"no trial of the sweep has come to its end, {why} the same command again", 1)
        return None


def _steps_of(planned: PlannedStep) -> float:
    """At which step a training ends, where its settings say so."""
    train = planned.block.get("train")
    steps = train.get("steps") if isinstance(train, dict) else None
    return steps if isinstance(steps, int) else float("inf")
