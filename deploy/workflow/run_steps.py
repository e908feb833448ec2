"""Runs the steps of a plan, each as a process of its own, when those before it are done and there is room."""

import json
import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import yaml

from clozekit.deploy.workflow.input_content import ContentHashes
from clozekit.deploy.workflow.made_corpus import note_corpus
from clozekit.deploy.workflow.plan_steps import STATE_FILE, PlannedStep, job_of
from clozekit.deploy.workflow.step_process import DoneMeanwhileError, StepProcess
from clozekit.deploy.workflow.step_record import (
    FACTS_FILE,
    JOB_FILE,
    LOG_FILE,
    SETTINGS_FILE,
    Record,
    damage,
    listing,
    read_json,
    read_record,
    write_record,
)
from clozekit.deploy.workflow.workflow_file import Step, Workflow
from clozekit.tokenizers.common.cores_here import cores_here
from clozekit.tokenizers.common.stop_signals import StopSignals
from clozekit.tokenizers.storage.file_systems import open_file_system, write_text
from clozekit.tokenizers.storage.owned_files import new_id

WAITING, RUNNING, DONE, SKIPPED, FAILED, STOPPED = "waiting", "running", "done", "skipped", "failed", "stopped"
# A run of a sweep that was losing.
PRUNED = "pruned"
_POLL_SECONDS = 0.1
# `train` and others end so when a scheduler stopped them with everything saved, or another worker is gone.
_GO_ON = (75, 76)
_MOST_RESTARTS = 3
# What a step has taken so far, over all its starts.
_EFFORT_FILE = "effort.json"


class StepFailedError(RuntimeError):
    """A step failed; the message is one line: which, why, and how to go on. The exit status is that of its command."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class WorkflowStoppedError(RuntimeError):
    """A signal came; the steps that ran have saved what they can. 75 is EX_TEMPFAIL of sysexits.h, as of `train`."""

    exit_status = 75


@dataclass
class StepState:
    """How a step stands: phase, one of the words above; seconds it has taken in this run; last: of its log's lines; earlier: the
    seconds of all starts before this one; becomes: its phase when it has ended, where it was told to stop; is_noted: it is the
    recipe's own, and not a trial's."""

    planned: PlannedStep
    phase: str
    seconds: float = 0.0
    last: str = ""
    status: int = 0
    restarts: int = 0
    began: float = 0.0
    process: StepProcess | None = None
    cores: tuple[int, ...] = ()
    earlier: float = 0.0
    becomes: str = ""
    is_noted: bool = True

    @property
    def has_ended(self) -> bool:
        return self.phase in (DONE, SKIPPED, FAILED, STOPPED, PRUNED)

    @property
    def is_done(self) -> bool:
        return self.phase in (DONE, SKIPPED)

    @property
    def spent(self) -> float:
        """Seconds over all starts, in earlier runs of the workflow too."""
        return self.earlier + (self.seconds if self.phase == RUNNING else 0.0)

    @property
    def log(self) -> str:
        return posixpath.join(self.planned.folder, LOG_FILE)


class StepRunner:
    """Runs steps.

    tell: is called with all states whenever one may have changed. keep_going: where a step has failed, those that do not need it
    are still begun. direct: is called before each look at the steps, and may add and stop some.
    """

    def __init__(
        self,
        workflow: Workflow,
        steps: Sequence[PlannedStep],
        hashes: ContentHashes,
        tell: Callable[[Sequence[StepState]], None],
        keep_going: bool = False,
        direct: Callable[[], None] = lambda: None,
    ) -> None:
        self._workflow, self._hashes, self._tell = workflow, hashes, tell
        self._keep_going, self._direct = keep_going, direct
        self._states: dict[str, StepState] = {}
        self.add(steps)
        limit = workflow.limits.cores or cores_here()
        self._free_cores = list(range(limit))
        self._free_memory = workflow.limits.memory_gb

    @property
    def states(self) -> list[StepState]:
        return list(self._states.values())

    def has(self, planned: PlannedStep) -> bool:
        return planned.key in self._states

    def state_of(self, planned: PlannedStep) -> StepState:
        return self._states[planned.key]

    def add(self, steps: Sequence[PlannedStep], is_noted: bool = True) -> None:
        """Further steps; those that are there already stay as they are."""
        for one in steps:
            if one.key not in self._states:
                before = read_json(posixpath.join(one.folder, _EFFORT_FILE)) or {}
                state = StepState(one, SKIPPED if one.is_done else WAITING, earlier=float(before.get("seconds", 0.0)))
                state.is_noted = is_noted
                self._states[one.key] = state

    def stop(self, state: StepState, becomes: str = STOPPED) -> None:
        """Tells a step to stop, which saves what it can; one that waits is not begun."""
        if state.phase == WAITING:
            state.phase = becomes
        elif state.phase == RUNNING and not state.becomes:
            assert state.process is not None
            state.becomes = becomes
            state.process.stop()

    def has_room(self, step: Step) -> bool:
        """Whether a step could be begun now: nothing that could be is waiting, and what it needs is free."""
        waits = any(state.phase == WAITING for state in self.states)
        return not waits and (bool(step.where) or self._fits(step))

    def run(self) -> None:
        """Raises StepFailedError, when all that was begun has come to its end, for the first step that failed, WorkflowStoppedError
        when a signal told it to stop."""
        self.work()
        if (failure := self.failure()) is not None:
            raise failure

    def work(self) -> None:
        """Does what there is to do; what failed, `failure` says. Raises WorkflowStoppedError as `run`."""
        with StopSignals() as signals:
            self._work(signals)

    def _work(self, signals: StopSignals) -> None:
        self._note_current([one.planned for one in self.states if one.phase == SKIPPED and one.is_noted])
        try:
            while True:
                self._direct()
                if all(state.has_ended for state in self.states):
                    break
                if signals.received is not None:
                    raise self._stopped(signals.received.name)
                self._begin_ready()
                for state in self.states:
                    if state.phase == RUNNING:
                        self._look_at(state)
                self._tell(self.states)
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self._stop_all()
            raise
        finally:
            self._hashes.save()

    def _stopped(self, signal: str) -> "WorkflowStoppedError":
        done = sum(state.phase in (DONE, SKIPPED) for state in self.states)
        return WorkflowStoppedError(
            f"stopped by {signal}, {done} of {len(self.states)} steps are done; run it again to resume"
        )

    def _begin_ready(self) -> None:
        failed = any(state.phase == FAILED for state in self.states)
        for state in self.states:
            if state.phase != WAITING:
                continue
            before = [self._states[key] for key in state.planned.before]
            if any(one.has_ended and not one.is_done for one in before) or (failed and not self._keep_going):
                state.phase = STOPPED
            elif all(one.is_done for one in before) and self._take_room(state):
                self._begin(state)

    def _take_room(self, state: StepState) -> bool:
        """Takes the cores and the memory that a step needs; whether they were free. What runs elsewhere takes none."""
        step = state.planned.step
        if step.where:
            return True
        if not self._fits(step):
            return False
        number = self._cores_of(step)
        state.cores = tuple(self._free_cores[:number])
        del self._free_cores[:number]
        if self._free_memory is not None:
            self._free_memory -= step.needs.memory_gb or 0.0
        return True

    def _cores_of(self, step: Step) -> int:
        return step.needs.cores or self._workflow.limits.cores or cores_here()

    def _fits(self, step: Step) -> bool:
        has_memory = self._free_memory is None or (step.needs.memory_gb or 0.0) <= self._free_memory + 1e-9
        return has_memory and self._cores_of(step) <= len(self._free_cores)

    def _give_room_back(self, state: StepState) -> None:
        step = state.planned.step
        if step.where:
            return
        self._free_cores = sorted([*self._free_cores, *state.cores])
        state.cores = ()
        if self._free_memory is not None:
            self._free_memory += step.needs.memory_gb or 0.0

    def _begin(self, state: StepState) -> None:
        planned = state.planned

        def is_done() -> bool:
            record = read_record(planned.folder)
            return record is not None and damage(record, self._hashes) is None

        if is_done():
            self._skip(state)
            return
        _move_damaged_aside(planned)
        facts = json.dumps(planned.facts, indent=1, sort_keys=True, default=str) + "\n"
        write_text(posixpath.join(planned.folder, FACTS_FILE), facts)
        if state.is_noted:
            self._note_current([planned])
        try:
            state.process = StepProcess(self._words(planned), state.log, is_done, state.cores)
        except DoneMeanwhileError:
            self._skip(state)
            return
        except BlockingIOError:
            self._give_room_back(state)
            state.last = "another process is at work on it, and has not ended yet"
            return
        state.phase, state.began, state.last = RUNNING, time.monotonic(), ""

    def _skip(self, state: StepState) -> None:
        """`clozekit run --only` of another process has done it since the plan was made."""
        self._give_room_back(state)
        state.phase = SKIPPED

    def _words(self, planned: PlannedStep) -> list[str]:
        """The command line of a step, whose files are written for it."""
        step, kind = planned.step, planned.step.kind
        keys = kind.file_keys
        in_file = {key: value for key, value in planned.block.items() if keys is None or key in keys}
        file = posixpath.join(planned.folder, SETTINGS_FILE)
        if in_file:
            write_text(file, yaml.safe_dump(in_file, sort_keys=False, allow_unicode=True))
        words = [step.verb]
        if keys is None:
            words.append(file)
        else:
            words += planned.words
            if in_file:
                words += [kind.file_option, file]
        words += step.options
        if not step.where:
            return words
        job = job_of(step, planned.fingerprint, planned.folder, planned.place)
        job_file = posixpath.join(planned.folder, JOB_FILE)
        write_text(job_file, yaml.safe_dump(job, sort_keys=False, allow_unicode=True))
        return ["submit", str(step.where["platform"]), job_file, "--wait", "--", *words]

    def _look_at(self, state: StepState) -> None:
        process = state.process
        assert process is not None
        state.seconds = time.monotonic() - state.began
        status = process.poll()
        state.last = process.last_line() or state.last
        if status is None:
            return
        process.close()
        state.process = None
        self._give_room_back(state)
        try:
            self._note_end(state, status)
        finally:
            process.let_go()

    def _note_end(self, state: StepState, status: int) -> None:
        """Writes down what became of a step whose command has ended."""
        effort = self._add_effort(state)
        state.earlier = effort[0]
        if state.becomes and status != 0:
            state.phase = state.becomes
            return
        if status in _GO_ON and state.restarts < _MOST_RESTARTS:
            state.restarts += 1
            state.phase = WAITING
            return
        state.status = status
        if status != 0:
            state.phase = FAILED
            return
        outputs = {}
        for place in state.planned.kept():
            found = listing(place, self._hashes)
            if found is None:
                state.phase, state.status, state.last = FAILED, 1, f"its command ended well, and {place} is not there"
                return
            outputs[place] = found
        note_corpus(state.planned)
        write_record(state.planned.folder, Record(state.planned.fingerprint, effort[0], effort[1], outputs))
        state.phase = DONE

    def _add_effort(self, state: StepState) -> tuple[float, int]:
        """Seconds and starts of a step, over all runs of the workflow, with the start that has ended now."""
        path = posixpath.join(state.planned.folder, _EFFORT_FILE)
        before = read_json(path) or {}
        seconds, starts = float(before.get("seconds", 0.0)) + state.seconds, int(before.get("starts", 0)) + 1
        write_text(path, json.dumps({"seconds": round(seconds, 3), "starts": starts}) + "\n")
        return round(seconds, 3), starts

    def _note_current(self, planned: Sequence[PlannedStep]) -> None:
        """Notes which fingerprint of each step is the recipe's now."""
        path = posixpath.join(self._workflow.output, STATE_FILE)
        state = read_json(path) or {}
        steps = {**state.get("steps", {}), **{one.name: one.fingerprint for one in planned}}
        if steps != state.get("steps"):
            write_text(path, json.dumps({**state, "steps": steps}, indent=1) + "\n")

    def _stop_all(self) -> None:
        """Tells all steps to stop, and waits until they have saved what they can."""
        running = [(state, state.process) for state in self.states if state.process is not None]
        for _, process in running:
            process.stop()
        for state, process in running:
            process.wait()
            process.close()
            process.let_go()
            state.seconds = time.monotonic() - state.began
            self._add_effort(state)
            state.process, state.phase = None, state.becomes or STOPPED

    def failure(self) -> StepFailedError | None:
        """Of the first step that failed."""
        for state in self.states:
            if state.phase == FAILED:
                step, status = state.planned.step, state.status
                why = state.last.removeprefix(f"clozekit {step.verb}: ") or "it said nothing"
                ended = f"status {status}" if status > 0 else f"signal {-status}"
                return StepFailedError(
                    f"step {step.name} ({step.verb}) failed with {ended}: {why}; its log is {state.log}; mend what is wrong and run"
                    f" the same command again",
                    status if status > 0 else 1,
                )
        return None


def _move_damaged_aside(planned: PlannedStep) -> None:
    """What a step wrote that is no longer whole goes to a name of its own, where its command would not write it anew."""
    record = read_record(planned.folder)
    if record is None:
        return
    filesystem, root = open_file_system(planned.folder)
    if planned.step.kind.mends:
        filesystem.rm_file(f"{root.rstrip('/')}/step.json")
        return
    filesystem.mv(root, f"{root.rstrip('/')}.damaged-{new_id()[:8]}", recursive=True)


def summary(states: Sequence[StepState]) -> list[dict[str, object]]:
    """Of each step what a program wants to know."""
    return [
        {
            "step": state.planned.name,
            "command": state.planned.step.verb,
            "phase": state.phase,
            "seconds": round(state.seconds, 3),
            "fingerprint": state.planned.fingerprint,
            "output": state.planned.place,
            "log": state.log,
        }
        for state in states
    ]
