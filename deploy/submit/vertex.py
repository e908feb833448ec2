"""Vertex AI: a training job as a CustomJob, through google-cloud-aiplatform's own messages and client."""

import datetime
import json
from collections.abc import Callable
from typing import Any

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import FINGERPRINT, Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.remote_command import CONFIG_VARIABLE, RemoteCommand, train_command
from clozekit.deploy.submit.submit_errors import google_errors
from clozekit.tokenizers.common.errors import InputError

STRATEGIES = {"standard": "STANDARD", "spot": "SPOT", "flex_start": "FLEX_START"}
PHASES = {
    "JOB_STATE_QUEUED": WAITING,
    "JOB_STATE_PENDING": WAITING,
    "JOB_STATE_RUNNING": RUNNING,
    "JOB_STATE_UPDATING": RUNNING,
    "JOB_STATE_PAUSED": WAITING,
    "JOB_STATE_SUCCEEDED": SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": FAILED,
    "JOB_STATE_FAILED": FAILED,
    "JOB_STATE_EXPIRED": FAILED,
    "JOB_STATE_CANCELLING": CANCELLED,
    "JOB_STATE_CANCELLED": CANCELLED,
}
LOGGING = "https://logging.googleapis.com/v2/entries:list"


def command(job: Job, words: list[str], line: CommandLine) -> RemoteCommand:
    job.needs("vertex", "image", "project", "region", "machine")
    if job.vertex.tensorboard is not None:
        job.needs("vertex with vertex.tensorboard", "service_account", "output")
    if job.is_tpu and job.num_workers > 1:
        raise InputError(
            f"TPUStrategy drives a slice from one process, got num_workers {job.num_workers} with"
            f" {job.accelerators and job.accelerators.kind}; set num_workers=1"
        )
    return train_command(job, words, line, "vertex", needs_url=True)


def custom_job(job: Job, command: RemoteCommand) -> Any:
    """The CustomJob: one primary replica and, as a pool of their own, the other workers, all alike."""
    from google.cloud import aiplatform_v1
    from google.protobuf import duration_pb2

    accelerators = job.accelerators
    machine = aiplatform_v1.MachineSpec(machine_type=job.machine)
    # A TPU machine type (ct5lp-hightpu-4t) says what is in it.
    if accelerators is not None and not job.is_tpu:
        machine.accelerator_type = _accelerator_type(accelerators.kind)
        machine.accelerator_count = accelerators.count
    if accelerators is not None and accelerators.topology is not None:
        machine.tpu_topology = accelerators.topology
    variables = {**job.environment, CONFIG_VARIABLE: command.config}
    container = aiplatform_v1.ContainerSpec(
        image_uri=job.image,
        command=["/bin/sh", "-c"],
        args=[command.again_when_a_worker_is_lost(job.max_restarts)],
        env=[aiplatform_v1.EnvVar(name=name, value=value) for name, value in variables.items()],
    )
    disk = aiplatform_v1.DiskSpec(boot_disk_type=job.vertex.disk_type, boot_disk_size_gb=job.disk_gb or 100)
    pools = [
        aiplatform_v1.WorkerPoolSpec(
            machine_spec=machine, replica_count=count, container_spec=container, disk_spec=disk
        )
        for count in (1, job.num_workers - 1)
        if count
    ]
    seconds, wait = job.seconds(), job.vertex.max_wait_hours
    strategy = aiplatform_v1.Scheduling.Strategy[STRATEGIES[job.provisioning]]
    scheduling = aiplatform_v1.Scheduling(restart_job_on_worker_restart=True, strategy=strategy)
    if seconds is not None:
        scheduling.timeout = duration_pb2.Duration(seconds=seconds)
    if wait is not None:
        scheduling.max_wait_duration = duration_pb2.Duration(seconds=round(wait * 3600))
    spec = aiplatform_v1.CustomJobSpec(
        worker_pool_specs=pools, scheduling=scheduling, enable_web_access=job.vertex.web_access
    )
    if job.service_account is not None:
        spec.service_account = job.service_account
    if job.network is not None:
        spec.network = job.network
    if job.output is not None:
        spec.base_output_directory = aiplatform_v1.GcsDestination(output_uri_prefix=job.output)
    if job.vertex.tensorboard is not None:
        spec.tensorboard = _full_name(job, "tensorboards", job.vertex.tensorboard)
    labels = {**job.labels, FINGERPRINT: job.fingerprint(command.words, command.config)}
    return aiplatform_v1.CustomJob(display_name=job.name, job_spec=spec, labels=labels)


def _accelerator_type(kind: str) -> Any:
    from google.cloud import aiplatform_v1

    known = aiplatform_v1.AcceleratorType.__members__
    if kind.upper().replace("-", "_") not in known:
        names = ", ".join(name for name in known if name.startswith("NVIDIA"))
        raise InputError(f"accelerators.kind on Vertex AI must be one of {names}, got {kind!r}")
    return known[kind.upper().replace("-", "_")]


def _full_name(job: Job, collection: str, name: str) -> str:
    return name if "/" in name else f"{_parent(job)}/{collection}/{name}"


def _parent(job: Job) -> str:
    return f"projects/{job.project}/locations/{job.region}"


def request(job: Job, command: RemoteCommand) -> Any:
    from google.cloud import aiplatform_v1

    return aiplatform_v1.CreateCustomJobRequest(parent=_parent(job), custom_job=custom_job(job, command))


def render(job: Job, command: RemoteCommand) -> str:
    """The CreateCustomJobRequest as JSON."""
    message = request(job, command)
    fields = json.loads(
        type(message).to_json(message, use_integers_for_enums=False, always_print_fields_with_no_presence=False)
    )
    # protobuf's own order of a map is another one in each process.
    fields["customJob"]["labels"] = dict(sorted(fields["customJob"]["labels"].items()))
    return json.dumps(fields, indent=2) + "\n"


def connect(job: Job) -> Any:
    """The client of Vertex AI's job service in the job's region."""
    from google.cloud import aiplatform_v1

    return aiplatform_v1.JobServiceClient(client_options={"api_endpoint": f"{job.region}-aiplatform.googleapis.com"})


def _place(job: Job) -> str:
    return f"Vertex AI in {job.project}, {job.region}"


def find(job: Job) -> JobState | None:
    """The newest job of that name, None when there is none. Vertex AI itself lets many jobs have one name."""
    job.needs("vertex", "project", "region")
    with google_errors(job.name, _place(job)):
        found = list(
            connect(job).list_custom_jobs(
                request={"parent": _parent(job), "filter": f'display_name="{job.name}"'}, timeout=60
            )
        )
    found.sort(key=lambda entry: entry.create_time, reverse=True)
    states = [_state(job, entry) for entry in found]
    # One that is not over counts before a newer one that is.
    return next((state for state in states if not state.has_ended), states[0] if states else None)


def refresh(job: Job, state: JobState) -> JobState:
    with google_errors(job.name, _place(job)):
        return _state(job, connect(job).get_custom_job(name=state.identifier, timeout=60))


def _state(job: Job, found: Any) -> JobState:
    number = found.name.rsplit("/", 1)[-1]
    detail = found.state.name + (f": {found.error.message}" if found.error.message else "")
    look = f"https://console.cloud.google.com/vertex-ai/locations/{job.region}/training/{number}?project={job.project}"
    phase = PHASES.get(found.state.name, WAITING)
    return JobState(job.name, found.name, phase, detail, found.labels.get(FINGERPRINT, ""), look)


def start(job: Job, command: RemoteCommand) -> JobState:
    with google_errors(job.name, _place(job)):
        # Without a retry: a request whose answer was lost may have made a job.
        return _state(job, connect(job).create_custom_job(request=request(job, command), retry=None, timeout=60))


def cancel(job: Job, state: JobState) -> None:
    with google_errors(job.name, _place(job)):
        connect(job).cancel_custom_job(name=state.identifier, timeout=60)


def log_reader(job: Job, state: JobState, session: Any = None, url: str = LOGGING) -> Callable[[], list[str]]:
    """A function that returns the lines that all workers have logged since it was last called, from Cloud Logging."""
    if session is None:
        import google.auth
        from google.auth.transport.requests import AuthorizedSession

        with google_errors(job.name, "Cloud Logging"):
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/logging.read"])
        session = AuthorizedSession(credentials)
    number = state.identifier.rsplit("/", 1)[-1]
    last = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)).isoformat()
    seen: set[str] = set()

    def read() -> list[str]:
        nonlocal last
        # The same for all pages, or their tokens would not hold.
        lines, token, since = [], "", last
        while True:
            body = {
                "resourceNames": [f"projects/{job.project}"],
                "filter": f'resource.type="ml_job" resource.labels.job_id="{number}" timestamp>="{since}"',
                "orderBy": "timestamp asc",
                "pageSize": 1000,
                **({"pageToken": token} if token else {}),
            }
            answer = session.post(url, json=body, timeout=60)
            if not answer.ok:
                # The job goes on whether or not its log can be read.
                return [f"(the log can't be read: HTTP {answer.status_code}; see {state.look})"]
            page = answer.json()
            for entry in page.get("entries", []):
                if entry["insertId"] not in seen:
                    seen.add(entry["insertId"])
                    lines.append(_log_line(entry))
                last = max(last, entry["timestamp"])
            token = page.get("nextPageToken", "")
            if not token:
                return lines

    return read


def _log_line(entry: dict[str, Any]) -> str:
    task = entry.get("resource", {}).get("labels", {}).get("task_name", "")
    text = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")
    return f"{task}: {text.rstrip()}" if task else str(text).rstrip()


BACKEND = Backend(
    "vertex",
    command,
    render,
    find,
    start,
    refresh,
    cancel,
    log_reader,
)
