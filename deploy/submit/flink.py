"""Flink: `prepare`, or half of a stream, on a session cluster, by its REST address; or as a cluster of an operator."""

import re
import time
from collections.abc import Callable
from typing import Any

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.flink_deployment import check_deployment, flink_options, render_deployment
from clozekit.deploy.submit.flink_rest import ask_flink, not_flink
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.portable_jobs import check_no_environment, job_name, job_server_errors, reason_in
from clozekit.deploy.submit.remote_prepare import (
    PrepareCommand,
    dataset_is_there,
    hand_over,
    prepare_command,
)
from clozekit.deploy.submit.remote_prepare import finish as finish_prepare
from clozekit.deploy.submit.remote_stream import StreamCommand, hand_over_stream, is_stream, stream_command
from clozekit.deploy.submit.submit_errors import PlaceError, RefusedError, one_line
from clozekit.tokenizers.common.errors import InputError

RUNNER = "FlinkRunner"
PHASES = {
    "FINISHED": SUCCEEDED,
    "FAILED": FAILED,
    "FAILING": RUNNING,
    "RUNNING": RUNNING,
    "RESTARTING": RUNNING,
    "RECONCILING": RUNNING,
    "CANCELLING": CANCELLED,
    "CANCELED": CANCELLED,
}
_POLL_SECONDS = 0.5


def command(job: Job, words: list[str], line: CommandLine) -> PrepareCommand | StreamCommand:
    settings = job.flink
    if settings.rest_address is None:
        return check_deployment(job, _command(job, words, line))
    if settings.job_endpoint is None and settings.job_server_jar is None:
        raise InputError(
            "a job for flink needs Beam's job server: the key flink.job_endpoint where one runs, or flink.job_server_jar, whose"
            f" jar is started for the command; {job.name} has neither"
        )
    check_no_environment(job, "a session cluster")
    return _command(job, words, line)


def _command(job: Job, words: list[str], line: CommandLine) -> PrepareCommand | StreamCommand:
    if is_stream(words):
        # Flink acknowledges messages of Pub/Sub that are in no checkpoint yet.
        return stream_command(job, words, line, "Flink", ("files", "kafka"))
    if job.flink.savepoint is not None:
        raise InputError("flink.savepoint is for a stream, a `prepare` is run again when it has ended; leave it out")
    return prepare_command(job, words, line, "flink", RUNNER)


def session_options(job: Job, fingerprint: str, streams: bool) -> list[str]:
    """The options of Beam's FlinkRunner for a session cluster."""
    settings = job.flink
    server = (
        f"--flink_job_server_jar={settings.job_server_jar}"
        if settings.job_endpoint is None
        else f"--job_endpoint={settings.job_endpoint}"
    )
    return [server, *flink_options(job, fingerprint, str(settings.rest_address), streams)]


def render(job: Job, command: PrepareCommand | StreamCommand) -> str:
    """The manifests for the operator; for a session cluster the options that Beam's job server gets, one a line."""
    fingerprint = job.fingerprint(command.words, command.config)
    if job.flink.rest_address is None:
        return render_deployment(job, command, fingerprint)
    streams = isinstance(command, StreamCommand)
    more = ["--streaming"] if isinstance(command, StreamCommand) else command.running.beam_arguments
    return "\n".join([f"--runner={RUNNER}", *session_options(job, fingerprint, streams), *more]) + "\n"


def _address(job: Job) -> str:
    if job.flink.rest_address is None:
        raise InputError(
            "what the operator gets is printed by --dry-run, for `kubectl apply -f -`; to send, follow or stop a job here give"
            " flink.rest_address (of an operator's cluster behind `kubectl port-forward service/NAME-rest 8081`)"
        )
    return job.flink.rest_address


def _jobs(job: Job) -> list[dict[str, Any]]:
    """What Flink says of the jobs of that name, the newest first."""
    address = _address(job)
    answer = ask_flink(address, "jobs/overview")
    if not isinstance(answer, dict) or "jobs" not in answer:
        raise not_flink(address)
    ours = re.compile(job_name(job, "[0-9a-f]{16}"))
    found = [entry for entry in answer["jobs"] if ours.fullmatch(entry["name"])]
    return sorted(found, key=lambda entry: -int(entry["start-time"]))


def find(job: Job) -> JobState | None:
    """The newest job of that name, one that is not over before the others. Flink forgets ended ones after an hour."""
    states = [_state(job, entry) for entry in _jobs(job)]
    return next((state for state in states if not state.has_ended), states[0] if states else None)


def _state(job: Job, found: dict[str, Any]) -> JobState:
    number, detail = found["jid"], found["state"]
    if detail == "FAILED":
        detail = f"{detail}: {_reason(job, number)}"
    look = f"http://{job.flink.rest_address}/#/job/{number}"
    phase = PHASES.get(found["state"], WAITING)
    return JobState(job.name, number, phase, detail, found["name"].rpartition("-")[2], look)


def _reason(job: Job, number: str) -> str:
    """Why a job failed, in one line."""
    found = ask_flink(_address(job), f"jobs/{number}/exceptions") or {}
    return reason_in(str(found.get("root-exception") or ""))


def refresh(job: Job, state: JobState) -> JobState:
    for entry in _jobs(job):
        if entry["jid"] == state.identifier:
            return _state(job, entry)
    raise PlaceError(
        f"Flink at {job.flink.rest_address} must know the job, it has forgotten {state.identifier} (its JobManager was started"
        " anew, or the job ended long ago); submit it again: what is done is found"
    )


def start(job: Job, command: PrepareCommand | StreamCommand) -> JobState:
    """Gives the job to the job server and waits until Flink has it; it runs on whether or not it is waited for."""
    before = {entry["jid"] for entry in _jobs(job)}
    fingerprint = job.fingerprint(command.words, command.config)
    words, settings = session_options(job, fingerprint, isinstance(command, StreamCommand)), job.flink
    with job_server_errors("flink.job_endpoint", str(settings.job_endpoint or settings.job_server_jar)):
        if isinstance(command, StreamCommand):
            result = hand_over_stream(command.recipe, RUNNER, "flink_runner", words)
        else:
            result = hand_over(command.recipe, command.running, RUNNER, "flink_runner", words)
        if result is None:
            return dataset_is_there(job, fingerprint)
        while True:
            # In this order: a job that ends at once is in Flink before the server says so.
            server_state = result.state
            for entry in _jobs(job):
                if entry["jid"] not in before:
                    return _state(job, entry)
            if server_state in ("FAILED", "CANCELLED", "DONE"):
                said = one_line(result._last_error_message()) or server_state
                raise RefusedError(f"Flink must take the job, it did not: {said}; look at the job server's log")
            time.sleep(_POLL_SECONDS)


def cancel(job: Job, state: JobState) -> None:
    ask_flink(_address(job), f"jobs/{state.identifier}?mode=cancel", "PATCH")


def finish(job: Job, command: PrepareCommand | StreamCommand) -> None:
    # Who commits the panes of a stream is another command.
    if isinstance(command, PrepareCommand):
        finish_prepare(job, command)


def log_reader(job: Job, state: JobState) -> Callable[[], list[str]]:
    """A function that says how many tasks have ended since it was last called, and what made Flink try some of them again. (The
    log of a Flink cluster is that of its machines, of all jobs together.)"""
    address, told = _address(job), ""
    tried = 0

    def read() -> list[str]:
        nonlocal told, tried
        lines = []
        entry = next((entry for entry in _jobs(job) if entry["jid"] == state.identifier), None)
        if entry is not None:
            tasks = f"{entry['tasks']['finished']} of {entry['tasks']['total']} tasks have ended"
            lines += [tasks] if tasks != told else []
            told = tasks
        history = (ask_flink(address, f"jobs/{state.identifier}/exceptions") or {}).get("exceptionHistory", {})
        entries = sorted(history.get("entries", []), key=lambda one: int(one["timestamp"]))
        new = [one for one in entries if int(one["timestamp"]) > tried]
        tried = max([tried, *(int(one["timestamp"]) for one in new)])
        return lines + [f"failed: {one_line(str(one['stacktrace']).partition(chr(10))[0])}" for one in new]

    return read


BACKEND = Backend(
    "flink",
    command,
    render,
    find,
    start,
    refresh,
    cancel,
    log_reader,
    has_time_limit=False,
    finish=finish,
)
