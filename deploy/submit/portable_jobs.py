"""What jobs for Beam's job servers (Flink's, Spark's) share: their name, the options of their workers, what failures mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.submit_errors import UnavailableError, one_line
from clozekit.tokenizers.common.errors import InputError

SERVER_SECONDS = 60
WORKER_CACHE_MILLIS = 60_000
# Of a stack trace: the line that a user of `prepare` would have read.
_OUR_ERROR = re.compile(r"(?:InputError|OSError): (.*?)(?: \[while running .*)?$", re.MULTILINE)


def job_name(job: Job, fingerprint: str) -> str:
    """Jobs have no labels there: the fingerprint stands in the name."""
    return f"{job.name}-{fingerprint}"


def check_no_environment(job: Job, cluster: str) -> None:
    """Raises InputError for variables of a job whose workers are those of a cluster that runs. cluster: for the message."""
    if job.environment:
        raise InputError(
            f"the workers of {cluster} have the variables that their pools were started with, got environment"
            f" {dict(job.environment)}; set them there"
        )


def worker_options(job: Job, fingerprint: str, environment: str, keeps_workers: bool = True) -> list[str]:
    """environment: host:port where Beam's worker pools answer, as the engine's machines see it. keeps_workers: from stage to stage,
    else each stage starts its own."""
    return [
        f"--job_server_timeout={SERVER_SECONDS}",
        f"--job_name={job_name(job, fingerprint)}",
        "--environment_type=EXTERNAL",
        f"--environment_config={environment}",
        *([f"--environment_cache_millis={WORKER_CACHE_MILLIS}"] if keeps_workers else []),
        # The only file that would be staged, and so would need a folder that the job server and the engine share.
        "--experiments=disable_logging_submission_environment",
    ]


def reason_in(trace: str) -> str:
    """The line of a stack trace that says why; empty for an empty trace."""
    ours, causes = _OUR_ERROR.findall(trace), re.findall(r"^Caused by: (.*)$", trace, re.MULTILINE)
    return one_line(ours[-1] if ours else causes[-1] if causes else trace.strip().partition("\n")[0])


@contextmanager
def job_server_errors(key: str, server: str) -> Iterator[None]:
    """Turns what gRPC raises where no job server answers into one line. key: of the job file, that names the server."""
    import grpc

    try:
        yield
    except (grpc.FutureTimeoutError, grpc.RpcError) as error:
        said = getattr(error, "details", lambda: None)() or type(error).__name__
        raise UnavailableError(
            f"Beam's job server must answer, {server} does not ({one_line(said)}); check {key} and that it runs"
        ) from error
