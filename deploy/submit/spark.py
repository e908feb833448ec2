"""Spark: `prepare` through Beam's job server, which is the driver of its jobs and knows how they stand."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.portable_jobs import (
    check_no_environment,
    job_name,
    job_server_errors,
    reason_in,
    worker_options,
)
from clozekit.deploy.submit.remote_prepare import (
    PrepareCommand,
    dataset_is_there,
    finish,
    hand_over,
    prepare_command,
)
from clozekit.deploy.submit.submit_errors import PlaceError

RUNNER = "SparkRunner"
PHASES = {
    "STARTING": WAITING,
    "RUNNING": RUNNING,
    "DONE": SUCCEEDED,
    "FAILED": FAILED,
    "CANCELLING": CANCELLED,
    "CANCELLED": CANCELLED,
}
_ANSWER_SECONDS = 30


def command(job: Job, words: list[str], line: CommandLine) -> PrepareCommand:
    job.needs("spark", "spark.job_endpoint")
    check_no_environment(job, "a Spark cluster")
    return prepare_command(job, words, line, "spark", RUNNER)


def options(job: Job, fingerprint: str) -> list[str]:
    """The options of Beam's SparkRunner. How many executors there are, the job server was told."""
    return [f"--job_endpoint={job.spark.job_endpoint}", *worker_options(job, fingerprint, job.spark.environment)]


def render(job: Job, command: PrepareCommand) -> str:
    """The options that Beam's job server gets, one a line."""
    fingerprint = job.fingerprint(command.words, command.config)
    return "\n".join([f"--runner={RUNNER}", *options(job, fingerprint), *command.running.beam_arguments]) + "\n"


@contextmanager
def _jobs_of_server(job: Job) -> Iterator[tuple[Any, Any]]:
    """A client of the job server's API, and its messages."""
    import grpc
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    job.needs("spark", "spark.job_endpoint")
    endpoint = str(job.spark.job_endpoint)
    with job_server_errors("spark.job_endpoint", endpoint), grpc.insecure_channel(endpoint) as channel:
        yield beam_job_api_pb2_grpc.JobServiceStub(channel), beam_job_api_pb2


def _states(job: Job) -> list[JobState]:
    """The jobs of that name, in the order in which the server tells of them."""
    with _jobs_of_server(job) as (client, messages):
        found = client.GetJobs(messages.GetJobsRequest(), timeout=_ANSWER_SECONDS).job_info
        ours = re.compile(job_name(job, "([0-9a-f]{16})") + "_.*")
        states = []
        for entry in found:
            matched = ours.fullmatch(entry.job_id)
            if matched is None:
                continue
            name = messages.JobState.Enum.Name(entry.state)
            detail = f"{name}: {_reason(client, messages, entry.job_id)}" if name == "FAILED" else name
            look = f"the Spark master's page, the application {entry.job_id}"
            states.append(JobState(job.name, entry.job_id, PHASES.get(name, WAITING), detail, matched[1], look))
    return states


def _reason(client: Any, messages: Any, number: str) -> str:
    """Why a job failed, in one line."""
    request = messages.JobMessagesRequest(job_id=number)
    texts = []
    for answer in client.GetMessageStream(request, timeout=_ANSWER_SECONDS):
        if answer.HasField("message_response"):
            texts.append(answer.message_response.message_text)
        elif messages.JobState.Enum.Name(answer.state_response.state) in ("FAILED", "DONE", "CANCELLED"):
            break
    return reason_in("\n".join(texts)) or "see the job server's log"


def find(job: Job) -> JobState | None:
    """The newest job of that name, one that is not over before the others. The server forgets old ones."""
    states = _states(job)
    return next((state for state in states if not state.has_ended), states[-1] if states else None)


def refresh(job: Job, state: JobState) -> JobState:
    for found in _states(job):
        if found.identifier == state.identifier:
            return found
    raise PlaceError(
        f"the job server at {job.spark.job_endpoint} must know the job, it has forgotten {state.identifier} (it was started"
        " anew, and its jobs end with it); submit it again: what is done is found"
    )


def start(job: Job, command: PrepareCommand) -> JobState:
    """Gives the job to the job server, which runs it whether or not it is waited for."""
    fingerprint = job.fingerprint(command.words, command.config)
    with job_server_errors("spark.job_endpoint", str(job.spark.job_endpoint)):
        result = hand_over(command.recipe, command.running, RUNNER, "spark_runner", options(job, fingerprint))
    if result is None:
        return dataset_is_there(job, fingerprint)
    return refresh(job, JobState(job.name, result._job_id, WAITING, "", fingerprint, ""))


def cancel(job: Job, state: JobState) -> None:
    with _jobs_of_server(job) as (client, messages):
        client.Cancel(messages.CancelJobRequest(job_id=state.identifier), timeout=_ANSWER_SECONDS)


def log_reader(job: Job, state: JobState) -> Callable[[], list[str]]:
    """Nothing: what Spark's executors log stays with them, and the job server says only how a job ends."""
    return list


BACKEND = Backend(
    "spark",
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
