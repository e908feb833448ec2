"""Dataflow: `prepare`, or the first half of a stream, as a job that Beam's own DataflowRunner stages and sends."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import FINGERPRINT, Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.remote_prepare import (
    PrepareCommand,
    check_places,
    dataset_is_there,
    hand_over,
    prepare_command,
)
from clozekit.deploy.submit.remote_prepare import finish as finish_prepare
from clozekit.deploy.submit.remote_stream import (
    StreamCommand,
    check_stream_places,
    hand_over_stream,
    is_stream,
    stream_command,
)
from clozekit.deploy.submit.submit_errors import BucketError, NameTakenError, UnavailableError, google_errors, one_line
from clozekit.tokenizers.common.errors import InputError

# Of this name Beam has one, and we have two that do not wait.
RUNNER = "DataflowRunner"
WORKER_REQUIREMENTS = Path(__file__).with_name("dataflow_requirements.txt")
DISK_TYPE = "compute.googleapis.com/projects//zones//diskTypes/"
PHASES = {
    "JOB_STATE_PENDING": WAITING,
    "JOB_STATE_QUEUED": WAITING,
    "JOB_STATE_RUNNING": RUNNING,
    "JOB_STATE_DRAINING": RUNNING,
    "JOB_STATE_RESOURCE_CLEANING_UP": RUNNING,
    "JOB_STATE_DONE": SUCCEEDED,
    "JOB_STATE_DRAINED": SUCCEEDED,
    "JOB_STATE_UPDATED": SUCCEEDED,
    "JOB_STATE_FAILED": FAILED,
    "JOB_STATE_CANCELLING": CANCELLED,
    "JOB_STATE_CANCELLED": CANCELLED,
}


def command(job: Job, words: list[str], line: CommandLine) -> PrepareCommand | StreamCommand:
    job.needs("dataflow", "project", "region", "dataflow.temp_location")
    if (job.image is None) == (job.dataflow.setup_file is None):
        raise InputError(
            "a job for dataflow needs what its workers run: the key image (with Clozekit inside) or"
            f" dataflow.setup_file, got {job.image!r} and {job.dataflow.setup_file!r}; give one of them"
        )
    if job.environment:
        raise InputError(
            f"Dataflow sets no variables on its workers, got environment {dict(job.environment)}; put them into the image"
        )
    if is_stream(words):
        # What many workers can read at once, and be told that it was read.
        stream = stream_command(job, words, line, "Dataflow", ("pubsub", "kafka"))
        check_stream_places(stream, "Dataflow's")
        if job.provisioning != "standard":
            raise InputError(
                f"a stream runs on standard machines, Dataflow has no others for it, got provisioning {job.provisioning}"
            )
        return stream
    if job.dataflow.update:
        raise InputError("dataflow.update is for a stream, a `prepare` is run again when it has ended; leave it out")
    found = prepare_command(job, words, line, "dataflow", RUNNER)
    check_places(found, "Dataflow's", job.image is not None)
    return found


def beam_arguments(job: Job, fingerprint: str) -> list[str]:
    """The options of Beam's DataflowRunner."""
    settings = job.dataflow
    given: dict[str, Any] = {
        "project": job.project,
        "region": job.region,
        "worker_zone": job.zone,
        "job_name": job.name,
        "temp_location": settings.temp_location,
        "staging_location": f"{settings.temp_location}/staging",
        "sdk_container_image": job.image,
        # The image has Beam inside: nothing to stage.
        "sdk_location": None if job.image is None else "container",
        "setup_file": settings.setup_file,
        # Workers install the package of a setup.py without its extras.
        "requirements_file": None if settings.setup_file is None else str(WORKER_REQUIREMENTS),
        "requirements_cache": None if settings.setup_file is None else "skip",
        "machine_type": job.machine,
        "num_workers": job.num_workers,
        "max_num_workers": settings.max_workers,
        "autoscaling_algorithm": None if settings.max_workers is None else "THROUGHPUT_BASED",
        "disk_size_gb": job.disk_gb,
        "worker_disk_type": None if settings.disk_type is None else DISK_TYPE + settings.disk_type,
        "number_of_worker_harness_threads": settings.harness_threads,
        "service_account_email": job.service_account,
        "network": job.network,
        "subnetwork": job.subnetwork,
        "dataflow_endpoint": settings.endpoint,
        # Dataflow's own way of cheaper, interruptible machines.
        "flexrs_goal": None if job.provisioning == "standard" else "COST_OPTIMIZED",
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    # Left open, Beam pickles the session of this process for the workers when it sends to the real service.
    words.append("--no_save_main_session")
    words += [] if settings.public_ips else ["--no_use_public_ips"]
    labels = {**job.labels, FINGERPRINT: fingerprint}
    words += [f"--labels={key}={value}" for key, value in labels.items()]
    return [*words, *(f"--experiments={name}" for name in settings.experiments)]


@contextmanager
def _storage_errors(job: Job) -> Iterator[None]:
    """What gcsfs and Beam say of a bucket that is not there or not ours."""
    try:
        with google_errors(job.name, "Cloud Storage"):
            yield
    except FileNotFoundError as error:
        raise BucketError(f"every bucket must be there, one is not ({one_line(error)}); check its name") from error
    except OSError as error:
        if "GCS path" not in str(error):
            raise
        raise BucketError(f"the graph must be staged, it was not: {one_line(error)}") from error


def stream_arguments(job: Job, fingerprint: str, is_update: bool = False) -> list[str]:
    """The options of a stream: its windows live in Streaming Engine, not on the workers' disks."""
    return [*beam_arguments(job, fingerprint), "--enable_streaming_engine", *(["--update"] if is_update else [])]


def check_bucket(job: Job) -> None:
    """Raises BucketError unless the bucket of dataflow.temp_location is there, and near the workers."""
    from google.cloud import exceptions, storage

    name = str(job.dataflow.temp_location).removeprefix("gs://").split("/", 1)[0]
    with google_errors(job.name, f"the bucket gs://{name}"):
        try:
            bucket = storage.Client(project=job.project).get_bucket(name, timeout=30)
        except exceptions.NotFound as error:
            raise BucketError(
                f"dataflow.temp_location must be in a bucket that is there, gs://{name} is not; create it or correct the name"
            ) from error
    location = str(bucket.location or "").lower()
    # Of a region; the others (eu, us, eur4) are spread over several.
    if "-" in location and location != str(job.region).lower():
        raise BucketError(
            f"dataflow.temp_location must be in the region of the workers, gs://{name} is in {location} and the job in"
            f" {job.region}; use a bucket there or another region"
        )


def render(job: Job, command: PrepareCommand | StreamCommand) -> str:
    """The request that Beam's runner would send, as JSON: the runner runs for real and stages into a local folder."""
    fingerprint = job.fingerprint(command.words, command.config)
    with tempfile.TemporaryDirectory(prefix="clozekit-dataflow-") as folder, _storage_errors(job):
        # Whether there is something at the output, and whether it can be written, is not looked at.
        recipe: Any = dataclasses.replace(command.recipe, output=f"{folder}/output")
        if isinstance(command, StreamCommand):
            # Which job an update replaces, only the service knows.
            words = [*stream_arguments(job, fingerprint), "--dry_run=True"]
            shown = hand_over_stream(recipe, RUNNER, "showing_runner", words)
        else:
            words = [*beam_arguments(job, fingerprint), "--dry_run=True"]
            shown = hand_over(recipe, command.running, RUNNER, "showing_runner", words, only_shown=True)
        request = json.loads(shown)
    told = request["environment"]["sdkPipelineOptions"]
    shown_only = ("template_location", "no_auth", "dry_run")
    told["options"].update({name: False for name in shown_only[1:] if name in told["options"]})
    told["options"].pop("template_location", None)
    told["display_data"] = [item for item in told["display_data"] if item["key"] not in shown_only]
    return json.dumps(request, indent=2) + "\n"


def _client(job: Job, kind: str) -> Any:
    """A client of Dataflow's API: `kind` is Jobs or Messages."""
    from google.cloud import dataflow_v1beta3

    endpoint = job.dataflow.endpoint
    given: dict[str, Any] = {}
    if endpoint is not None:
        # As Beam does it.
        given = {"client_options": {"api_endpoint": endpoint}, "transport": "rest" if "localhost" in endpoint else None}
    return getattr(dataflow_v1beta3, f"{kind}V1Beta3Client")(**given)


def _place(job: Job) -> str:
    return f"Dataflow in {job.project}, {job.region}"


def find(job: Job) -> JobState | None:
    """The newest job of that name, None when there is none; of those that run there is one at most."""
    from google.cloud import dataflow_v1beta3

    job.needs("dataflow", "project", "region")
    request = dataflow_v1beta3.ListJobsRequest(project_id=job.project, location=job.region, name=job.name)
    with google_errors(job.name, _place(job)):
        found = [entry for entry in _client(job, "Jobs").list_jobs(request, timeout=60) if entry.name == job.name]
        if not found:
            return None
        active = [entry for entry in found if PHASES.get(entry.current_state.name) in (WAITING, RUNNING)]
        return _get(job, max(active or found, key=lambda entry: entry.create_time).id)


def _get(job: Job, number: str) -> JobState:
    from google.cloud import dataflow_v1beta3

    request = dataflow_v1beta3.GetJobRequest(project_id=job.project, location=job.region, job_id=number)
    return _state(job, _client(job, "Jobs").get_job(request, timeout=60))


def refresh(job: Job, state: JobState) -> JobState:
    with google_errors(job.name, _place(job)):
        return _get(job, state.identifier)


def _state(job: Job, found: Any) -> JobState:
    state = found.current_state.name
    look = f"https://console.cloud.google.com/dataflow/jobs/{job.region}/{found.id}?project={job.project}"
    fingerprint = dict(found.labels or {}).get(FINGERPRINT, "")
    return JobState(job.name, found.id, PHASES.get(state, WAITING), state, fingerprint, look)


def start(job: Job, command: PrepareCommand | StreamCommand) -> JobState:
    """Sends the job; it runs on whether or not it is waited for."""
    from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError

    check_bucket(job)
    fingerprint = job.fingerprint(command.words, command.config)
    with _storage_errors(job), google_errors(job.name, _place(job)):
        try:
            if isinstance(command, StreamCommand):
                words = stream_arguments(job, fingerprint, _is_update(job))
                result = hand_over_stream(command.recipe, RUNNER, "sending_runner", words)
            else:
                words = beam_arguments(job, fingerprint)
                result = hand_over(command.recipe, command.running, RUNNER, "sending_runner", words)
        except DataflowJobAlreadyExistsError as error:
            raise NameTakenError(
                f"the name of a job must be free, Dataflow already runs one called {job.name} ({one_line(error)}); choose"
                " another name"
            ) from error
    if result is None:
        return dataset_is_there(job, fingerprint)
    return _state(job, result._job)


def _is_update(job: Job) -> bool:
    """Whether a job of that name is to be replaced, and runs. Raises UnavailableError for one that does not run yet: Beam 2.77
    would ask for it without end."""
    found = find(job) if job.dataflow.update else None
    if found is None or found.has_ended:
        return False
    if found.detail != "JOB_STATE_RUNNING":
        raise UnavailableError(
            f"an update takes over from a job that runs, {job.name} is {found.detail}; run it again when it runs"
        )
    return True


def cancel(job: Job, state: JobState) -> None:
    """Stops a `prepare` at once; a stream is drained: what it has read was acknowledged, and is frozen before it ends."""
    from google.cloud import dataflow_v1beta3

    asked = dataflow_v1beta3.GetJobRequest(project_id=job.project, location=job.region, job_id=state.identifier)
    with google_errors(job.name, _place(job)):
        kind = _client(job, "Jobs").get_job(asked, timeout=60).type_
    states = dataflow_v1beta3.JobState
    is_streaming = kind == dataflow_v1beta3.JobType.JOB_TYPE_STREAMING
    wanted = states.JOB_STATE_DRAINED if is_streaming else states.JOB_STATE_CANCELLED
    request = dataflow_v1beta3.UpdateJobRequest(
        project_id=job.project,
        location=job.region,
        job_id=state.identifier,
        job=dataflow_v1beta3.Job(requested_state=wanted),
    )
    with google_errors(job.name, _place(job)):
        _client(job, "Jobs").update_job(request, timeout=60)


def finish(job: Job, command: PrepareCommand | StreamCommand) -> None:
    # A stream that was drained has its panes; who commits them is another command.
    if isinstance(command, PrepareCommand):
        finish_prepare(job, command)


def log_reader(job: Job, state: JobState) -> Callable[[], list[str]]:
    """A function that returns Dataflow's messages of the job since it was last called."""
    from google.cloud import dataflow_v1beta3

    client, seen = _client(job, "Messages"), set[str]()
    request = dataflow_v1beta3.ListJobMessagesRequest(
        project_id=job.project,
        location=job.region,
        job_id=state.identifier,
        minimum_importance=dataflow_v1beta3.JobMessageImportance.JOB_MESSAGE_BASIC,
    )

    def read() -> list[str]:
        with google_errors(job.name, _place(job)):
            new = [entry for entry in client.list_job_messages(request, timeout=60) if entry.id not in seen]
        seen.update(entry.id for entry in new)
        return [" ".join(entry.message_text.split()) for entry in new]

    return read


BACKEND = Backend(
    "dataflow",
    command,
    render,
    find,
    start,
    refresh,
    cancel,
    log_reader,
    has_time_limit=False,
    finish=finish,
    updates=lambda job: job.dataflow.update,
)
