"""`clozekit submit`: shows what would be sent, sends it once, follows it, says how it stands, stops it."""

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

from clozekit.deploy.job import Job, load_job
from clozekit.deploy.job_state import CANCELLED, FAILED, SUCCEEDED, JobState
from clozekit.deploy.submit_errors import JobFailedError, NameTakenError, PlaceError

# Platforms on which a job that has ended keeps its name until it is deleted.
KEEPS_NAMES = ("gke", "tpu")
POLL_SECONDS = 10.0


def submit(arguments: argparse.Namespace) -> None:
    backend = importlib.import_module(f"clozekit.deploy.{arguments.backend}")
    job = load_job(arguments.job, arguments.changes)
    if arguments.action == "status":
        print(describe(state := _present(backend, arguments.backend, job)))
        if arguments.wait:
            follow(backend, job, state, None)
    elif arguments.action == "cancel":
        cancel(backend, arguments.backend, job)
    else:
        command = backend.command(job, list(arguments.remote))
        if arguments.dry_run:
            print(backend.render(job, command), end="")
            return
        state = submit_once(backend, arguments.backend, job, command)
        if arguments.wait:
            follow(backend, job, state, command, restart=lambda: submit_once(backend, arguments.backend, job, command))


def _present(backend: Any, name: str, job: Job) -> JobState:
    state: JobState | None = backend.find(job)
    if state is None:
        raise PlaceError(
            f"the job must be on {name}, none called {job.name} is; check the name and where it was submitted"
        )
    return state


def submit_once(backend: Any, name: str, job: Job, command: Any) -> JobState:
    """Submits the job unless it is there already. Raises NameTakenError when another one has its name."""
    fingerprint = job.fingerprint(command.words, command.config)
    found: JobState | None = backend.find(job)
    if found is not None:
        same = found.fingerprint == fingerprint
        if same and found.phase not in (FAILED, CANCELLED):
            _say(f"already submitted, nothing is sent\n{describe(found)}")
            return found
        if not found.has_ended or (name in KEEPS_NAMES and not same):
            raise NameTakenError(
                f"the name of a job must be free, {job.name} is a job of another spec or command on {name}"
                f" ({found.identifier or found.detail}, {found.phase}); choose another name, or stop that one with:"
                f" clozekit submit cancel {name}"
            )
        if name in KEEPS_NAMES:
            _say(f"{job.name} has {found.phase}: it makes room for the new start")
            backend.clear(job, found)
    state: JobState = backend.start(job, command)
    _say(f"submitted\n{describe(state)}" if state.identifier else f"nothing to do: {state.detail}")
    return state


def cancel(backend: Any, name: str, job: Job) -> None:
    state = _present(backend, name, job)
    if state.has_ended and name not in KEEPS_NAMES:
        print(f"nothing to stop\n{describe(state)}")
        return
    backend.cancel(job, state)
    print(f"told to stop: {state.name} ({state.identifier})")


def describe(state: JobState) -> str:
    lines = {"job": state.name, "id": state.identifier, "state": f"{state.phase} ({state.detail})", "see": state.look}
    return "\n".join(f"{name:<6} {value}" for name, value in lines.items() if value)


def follow(
    backend: Any,
    job: Job,
    state: JobState,
    command: Any,
    restart: Callable[[], JobState] | None = None,
) -> None:
    """Prints the job's log and every change of its state until it ends. Raises JobFailedError unless it succeeds."""
    read = backend.log_reader(job, state) if state.identifier else None
    began, restarts, limit = time.monotonic(), 0, job.seconds()
    # Dataflow has no limit of its own.
    enforces = backend.__name__.endswith(".dataflow")
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
        if enforces and limit is not None and time.monotonic() - began > limit:
            backend.cancel(job, state)
            raise JobFailedError(f"{job.name} was stopped at the end of its budget, after {limit} seconds")
        time.sleep(POLL_SECONDS)
        new = backend.refresh(job, state)
        if (new.phase, new.detail) != (state.phase, state.detail):
            _say(f"{new.name}: {new.phase} ({new.detail})")
        state = new
    if state.phase != SUCCEEDED:
        raise JobFailedError(f"{job.name} has {state.phase}: {state.detail}; see {state.look}")
    finish = getattr(backend, "finish", None)
    if finish is not None and command is not None:
        finish(job, command)
    _say(f"{job.name} has succeeded")


def _was_taken_away(backend: Any, job: Job, state: JobState) -> bool:
    """Whether a platform that does not start a preempted job again by itself has taken this one's machine."""
    check = getattr(backend, "was_taken_away", None)
    return check is not None and bool(check(job, state))


def _say(text: str) -> None:
    # Standard output holds the log of the job, and of a dry run the request.
    print(text, file=sys.stderr, flush=True)
