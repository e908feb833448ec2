"""The plan of a sweep: its trials with their steps, those that an earlier leader chose too, and what comes behind them."""

import contextlib
import dataclasses
import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence

from clozekit.deploy.workflow.input_content import ContentHashes
from clozekit.deploy.workflow.plan_steps import PlannedStep, WordsOf, folder_of, plan
from clozekit.deploy.workflow.step_record import damage, read_json, read_record
from clozekit.deploy.workflow.sweeps.rules import optuna_points
from clozekit.deploy.workflow.sweeps.rules.prune_rule import Verdict
from clozekit.deploy.workflow.sweeps.rules.sweep_points import Point, draw, points_of
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import PruneSettings, Sweep
from clozekit.deploy.workflow.sweeps.sweep_trials import Trial, TrialRun, run_directory, shown_values, trial_recipe
from clozekit.deploy.workflow.workflow_file import Room, Step, Workflow
from clozekit.tokenizers.common.errors import InputError

SWEEP_FILE, PAGE_FILE, PRUNED_FILE = "sweep.json", "sweep.html", "pruned.json"
PAGE = "sweep"
# Settings that are refused one after the other: the space has nothing to offer.
MOST_REFUSED = 20


class SweepPlan:
    """The trials of a sweep as they are known before any is run, and the plans of those that come. until: as of `plan`."""

    def __init__(
        self, workflow: Workflow, sweep: Sweep, until: str | None, hashes: ContentHashes, words_of: WordsOf
    ) -> None:
        self.workflow, self.sweep, self.until = workflow, sweep, until
        self._hashes, self._words_of = hashes, words_of
        self._known: dict[str, PlannedStep] = {}
        self.trials: list[Trial] = []
        self.uses_optuna = sweep.settings.method == "optuna"
        self._drawn: Iterator[Point] = iter(()) if self.uses_optuna else points_of(sweep)
        if self.uses_optuna:
            optuna_points.require_optuna()
        if not self.uses_optuna and sweep.most_points is not None:
            for point in self._drawn:
                self.add(point)
        self._first = self._first_point()
        self.identity = self._identity()
        self._take_up_asked()
        self._refuse_twins()

    def _first_point(self) -> Point:
        """The first trial, or one like those that will be drawn, whose steps are all checked, those behind the measured one too:
        before hours of work, not after them."""
        if self.trials:
            self._check(self.trials[0].point)
            return self.trials[0].point
        refusals = []
        for number in range(MOST_REFUSED):
            point = draw(self.sweep, number)
            try:
                self._check(point)
                return point
            except InputError as error:
                refusals.append(error)
        raise refusals[0]

    def _check(self, point: Point) -> None:
        with _named(1, point):
            self.all_steps(1, point, self.sweep.seed_choices[0])

    def _identity(self) -> str:
        """Of what the asked points are of; another one asks anew."""
        sweep, settings = self.sweep, self.sweep.settings
        values = {
            key: dataclasses.asdict(one) if dataclasses.is_dataclass(one) else list(one)
            for key, one in sweep.keys.items()
        }
        run = self._run(1, self._first, sweep.seed_choices[0])
        measure = [sweep.measured, settings.measure.metric, settings.measure.is_lowest_best]
        seeds = {key: list(one) for key, one in sweep.seeds.items()}
        facts = [values, seeds, settings.method, settings.seed, measure, run.measured.fingerprint]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _take_up_asked(self) -> None:
        """The trials that an earlier leader asked Optuna for; their results are in their folders."""
        if not self.uses_optuna:
            return
        found = read_json(posixpath.join(self.workflow.output, SWEEP_FILE)) or {}
        if found.get("identity") == self.identity:
            for one in found.get("trials", ())[: self.sweep.most_points]:
                self.add(one["values"])

    def _refuse_twins(self) -> None:
        runs = [(trial, run) for trial in self.trials for run in trial.runs]
        seen: dict[str, int] = {}
        for trial, run in runs:
            key = run.measured.key
            if key in seen:
                raise InputError(
                    f"each run of a sweep must be another, trials {seen[key]} and {trial.number} of"
                    f" {self.workflow.source} are the same; take out the setting that changes nothing of what"
                    f" {self.sweep.measured} writes"
                )
            seen[key] = trial.number

    def add(self, point: Point) -> Trial:
        """The next trial. Raises InputError, which names it, where a command would refuse its settings."""
        number = len(self.trials) + 1
        with _named(number, point):
            runs = [self._run(number, point, seeds) for seeds in self.sweep.seed_choices]
        trial = Trial(number, point, runs)
        self.trials.append(trial)
        return trial

    def add_next(self, told: Sequence[optuna_points.Told]) -> Trial | None:
        """One more trial, as the method has it; None where there are no more. Settings that a command would refuse are noted as
        such."""
        if self.sweep.most_points is not None and len(self.trials) >= self.sweep.most_points:
            return None
        point = optuna_points.ask(self.sweep, told) if self.uses_optuna else next(self._drawn, None)
        if point is None:
            return None
        try:
            return self.add(point)
        except InputError as error:
            refused = Trial(len(self.trials) + 1, point, refused=str(error))
            self.trials.append(refused)
            return refused

    def _run(self, number: int, point: Point, seeds: Point) -> TrialRun:
        recipe = trial_recipe(self.workflow, self.sweep, number, point, seeds)
        steps = self._plan(recipe, self.sweep.measured)
        self._refuse_places(steps)
        return TrialRun(seeds, steps)

    def all_steps(self, number: int, point: Point, seeds: Point) -> list[PlannedStep]:
        """The steps that `until` needs with the settings of a trial."""
        return self._plan(trial_recipe(self.workflow, self.sweep, number, point, seeds), self.until)

    def _refuse_places(self, steps: Sequence[PlannedStep]) -> None:
        """Each trial has its own; a place that the recipe names would be that of all."""
        for one in steps:
            for key in (one.step.kind.place, "preset" if one.step.verb == "train" else None):
                if one.name in self.sweep.varied and key is not None and one.step.block.get(key) is not None:
                    raise InputError(
                        f"each trial of a sweep writes into a folder of its own, step {one.name} of {self.workflow.source}"
                        f" has the {key} {one.step.block[key]} for all; leave {key} out"
                    )

    def _plan(self, recipe: Workflow, until: str | None) -> list[PlannedStep]:
        steps = plan(recipe, until, self._hashes, self._words_of, list(self._known.values()))
        self._known.update({one.key: one for one in steps})
        return steps

    def shared(self) -> list[PlannedStep]:
        """The steps before the measured one that all trials have in common."""
        steps = self._run(1, self._first, self.sweep.seed_choices[0]).steps
        return [one for one in steps if one.name not in self.sweep.varied]

    def behind(self) -> list[PlannedStep]:
        """The steps that run once, for the best trial; with the settings of the first one here."""
        steps = self._run(1, self._first, self.sweep.seed_choices[0]).steps
        first = {one.key for one in steps}
        return [one for one in self.all_steps(1, self._first, self.sweep.seed_choices[0]) if one.key not in first]

    @property
    def has_more(self) -> bool:
        """Whether trials may come that are not known yet."""
        most = self.sweep.most_points
        return (self.uses_optuna or most is None) and (most is None or len(self.trials) < most)

    def noted_verdict(self, run: TrialRun) -> Verdict | None:
        """Why an earlier leader stopped a run as losing, by the same rule."""
        if self.sweep.pruned is None or run.measured.is_done:
            return None
        found = read_json(posixpath.join(run.step(self.sweep.pruned).folder, PRUNED_FILE)) or {}
        is_same = found.get("rule") == dataclasses.asdict(self.sweep.settings.prune or PruneSettings(1))
        return Verdict(**found["verdict"]) if is_same else None

    def page(self, runs: Sequence[PlannedStep], states: Sequence[str]) -> PlannedStep:
        """The step that writes the page of `compare`: another whenever a run of it is, or stands otherwise."""
        place = posixpath.join(self.workflow.output, PAGE_FILE)
        block = {"runs": [run_directory(one) for one in runs], "page": place}
        facts = {"command": "compare", "runs": [[one.key, state] for one, state in zip(runs, states, strict=True)]}
        fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        folder = folder_of(self.workflow.output, PAGE, fingerprint)
        record = read_record(folder)
        is_done = record is not None and damage(record, self._hashes) is None
        step = Step(PAGE, "compare", block, needs=Room(cores=1))
        words = tuple(self._words_of(step, block, None))
        return PlannedStep(step, fingerprint, facts, folder, place, block, words, is_done, "the trials have ended")


@contextlib.contextmanager
def _named(number: int, point: Point) -> Iterator[None]:
    """An InputError inside says of which trial it is."""
    try:
        yield
    except InputError as error:
        values = ", ".join(f"{name} {value}" for name, value in shown_values(point).items())
        raise InputError(f"trial {number} of the sweep ({values}): {error}") from error
