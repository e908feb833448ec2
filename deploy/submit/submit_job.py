"""`clozekit submit`: shows what would be sent, sends it once, follows it, says how it stands, stops it."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import Job, load_job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, SUCCEEDED, JobState
from clozekit.deploy.submit.platforms import load_backend
from clozekit.deploy.submit.submit_errors import JobFailedError, NameTakenError, PlaceError
from clozekit.deploy.submit.submit_settings import SubmitSettings

POLL_SECONDS = 10.0


def submit(asked: SubmitSettings, line: CommandLine) -> None:
    backend = load_backend(asked.backend)
    job = load_job(asked.job, asked.changes)
    if asked.action == "status":
        state = _present(backend, job)
        print(json.dumps(dataclasses.asdict(state), indent=2, ensure_ascii=False) if asked.json else describe(state))
        if asked.wait:
            follow(backend, job, state, None)
    elif asked.action == "cancel":
        cancel(backend, job)
    else:
        command = backend.command(job, list(asked.words), line)
        if asked.dry_run:
            print(backend.render(job, command), end="")
            return
        state = submit_once(backend, job, command)
        if asked.wait:
            follow(backend, job, state, command, restart=lambda: submit_once(backend, job, command))


def _present(backend: Backend, job: Job) -> JobState:
    state = backend.find(job)
    if state is None:
        raise PlaceError(
            f"the job must be on {backend.name}, none called {job.name} is; check the name and where it was submitted"
        )
    return state


def submit_once(backend: Backend, job: Job, command: Any) -> JobState:
    """Submits the job unless it is there already. Raises NameTakenError when another one has its name."""
    fingerprint = job.fingerprint(command.words, command.config)
    found = backend.find(job)
    if found is not None:
        same = found.fingerprint == fingerprint
        if same and found.phase not in (FAILED, CANCELLED):
            _say(f"already submitted, nothing is sent\n{describe(found)}")
            return found
        is_update = not found.has_ended and backend.updates(job)
        if not (found.has_ended or is_update) or (backend.keeps_names and not same):
            raise NameTakenError(
                f"the name of a job must be free, {job.name} is a job of another spec or command on {backend.name}"
                f" ({found.identifier or found.detail}, {found.phase}); choose another name, or stop that one with:"
                f" clozekit submit cancel {backend.name}"
            )
        if backend.clear is not None and not is_update:
            _say(f"{job.name} has {found.phase}: it makes room for the new start")
            backend.clear(job, found)
    state = backend.start(job, command)
    _say(f"submitted\n{describe(state)}" if state.identifier else f"nothing to do: {state.detail}")
    return state


def cancel(backend: Backend, job: Job) -> None:
    state = _present(backend, job)
    if state.has_ended and not backend.keeps_names:
        print(f"nothing to stop\n{describe(state)}")
        return
    backend.cancel(job, state)
    print(f"told to stop: {state.name} ({state.identifier})")


def describe(state: JobState) -> str:
    lines = {"job": state.name, "id": state.identifier, "state": f"{state.phase} ({state.detail})", "see": state.look}
    return "\n".join(f"{name:<6} {value}" for name, value in lines.items() if value)


def follow(
    backend: Backend,
    job: Job,
    state: JobState,
    command: Any,
    restart: Callable[[], JobState] | None = None,
) -> None:
    """Prints the job's log and every change of its state until it ends. Raises JobFailedError unless it succeeds."""
    read = backend.log_reader(job, state) if state.identifier else None
    began, restarts, limit = time.monotonic(), 0, job.seconds()
    while True:
        if read is not None:
            for line in read():
                print(line, flush=True)
        if state.has_ended:
            if not (state.phase == FAILED and restart is not None and _was_taken_away(backend, job, state)):
                break
            restarts += 1
            if restarts > job.max_restarts:
                break
            state = restart()
            continue
        if not backend.has_time_limit and limit is not None and time.monotonic() - began > limit:
            backend.cancel(job, state)
            raise JobFailedError(f"{job.name} was stopped at the end of its budget, after {limit} seconds")
        time.sleep(POLL_SECONDS)
        new = backend.refresh(job, state)
        if (new.phase, new.detail) != (state.phase, state.detail):
            _say(f"{new.name}: {new.phase} ({new.detail})")
        state = new
    if state.phase != SUCCEEDED:
        raise JobFailedError(f"{job.name} has {state.phase}: {state.detail}; see {state.look}")
    if backend.finish is not None and command is not None:
        backend.finish(job, command)
    _say(f"{job.name} has succeeded")


def _was_taken_away(backend: Backend, job: Job, state: JobState) -> bool:
    """Whether a platform that does not start a preempted job again by itself has taken this one's machine."""
    return backend.was_taken_away is not None and backend.was_taken_away(job, state)


def _say(text: str) -> None:
    # Standard output holds the log of the job, and of a dry run the request.
    print(text, file=sys.stderr, flush=True)
