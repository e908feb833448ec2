"""Kubernetes: a training job as a JobSet or, without one, as an Indexed Job and a headless service; through its API."""

import datetime
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import FINGERPRINT, Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.remote_command import CONFIG_VARIABLE, RemoteCommand, train_command
from clozekit.deploy.submit.submit_errors import (
    CredentialsError,
    NameTakenError,
    PlaceError,
    RefusedError,
    UnavailableError,
    one_line,
)
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import require_extras

JOBSET_GROUP, JOBSET_VERSION = "jobset.x-k8s.io", "v1alpha2"
# The replicated job of a JobSet, and so a part of its pods' names.
WORKERS = "workers"
PORT = 2222
# Exit statuses of the trainer: the input is wrong; stopped and saved; another worker is lost.
BAD_INPUT, STOPPED, WORKER_LOST = 2, 75, 76
# GKE takes a Spot node away 30 seconds after it has said so, and the kubelet needs some of them.
SPOT_GRACE_SECONDS, GRACE_SECONDS = 25, 60
CONTAINER_RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def command(job: Job, words: list[str], line: CommandLine) -> RemoteCommand:
    job.needs("gke", "image")
    if job.is_tpu and job.num_workers > 1:
        raise InputError(
            f"TPUStrategy drives a slice from one process, got num_workers {job.num_workers} with"
            f" {job.accelerators and job.accelerators.kind}; set num_workers=1 and use a slice of one host"
        )
    return train_command(job, words, line, "gke", needs_url=True)


def manifests(job: Job, command: RemoteCommand) -> list[dict[str, Any]]:
    """The objects of the job, the job itself first."""
    fingerprint = job.fingerprint(command.words, command.config)
    labels = {**job.labels, FINGERPRINT: fingerprint, "app.kubernetes.io/name": "clozekit"}
    if job.kubernetes.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = job.kubernetes.queue
    metadata = {"name": job.name, "namespace": job.kubernetes.namespace, "labels": labels}
    # Kueue lets go of what it admits.
    suspended = {} if job.kubernetes.queue is None else {"suspend": True}
    if job.kubernetes.kind == "job":
        indexed = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {**suspended, **_job_spec(job, command, job.max_restarts)},
        }
        return [indexed, _headless_service(job)] if job.num_workers > 1 else [indexed]
    jobset = {
        "apiVersion": f"{JOBSET_GROUP}/{JOBSET_VERSION}",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            **suspended,
            # A worker that starts looks for the others before they are ready.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": job.name},
            "failurePolicy": {
                "maxRestarts": job.max_restarts,
                "rules": [
                    # The input is wrong or the time is over: no restart helps.
                    {
                        "name": "endForGood",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
                    }
                ],
            },
            "replicatedJobs": [
                {"name": WORKERS, "replicas": 1, "template": {"spec": _job_spec(job, command, backoff_limit=0)}}
            ],
        },
    }
    return [jobset]


def _job_spec(job: Job, command: RemoteCommand, backoff_limit: int) -> dict[str, Any]:
    seconds = job.seconds()
    return {
        "completionMode": "Indexed",
        "completions": job.num_workers,
        "parallelism": job.num_workers,
        "backoffLimit": backoff_limit,
        **({} if seconds is None else {"activeDeadlineSeconds": seconds}),
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [BAD_INPUT]}},
                # A pod that has saved, has lost another or was taken away is made again and finds the others again.
                {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [STOPPED, WORKER_LOST]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": {"labels": {**job.labels, "app.kubernetes.io/name": "clozekit"}},
            "spec": _pod_spec(job, command),
        },
    }


@dataclass(frozen=True)
class Placement:
    """Where a pod runs and what it gets there: parts of its specification, as Kubernetes calls them."""

    selector: dict[str, str]
    tolerations: list[dict[str, str]]
    resources: dict[str, Any]
    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]


def placement(job: Job) -> Placement:
    """The nodes, resources and volumes of each worker of a job."""
    settings, accelerators = job.kubernetes, job.accelerators
    selector = dict(settings.node_selector)
    if job.machine is not None:
        selector["node.kubernetes.io/instance-type"] = job.machine
    if job.provisioning == "spot":
        selector["cloud.google.com/gke-spot"] = "true"
    if job.provisioning == "flex_start":
        selector["cloud.google.com/gke-flex-start"] = "true"
    resources: dict[str, Any] = {"requests": {"cpu": settings.cpu, "memory": settings.memory}}
    tolerations = []
    if accelerators is not None:
        resource = "google.com/tpu" if job.is_tpu else "nvidia.com/gpu"
        resources["limits"] = {resource: str(accelerators.count)}
        tolerations.append({"key": resource, "operator": "Exists", "effect": "NoSchedule"})
        if job.is_tpu:
            selector["cloud.google.com/gke-tpu-accelerator"] = accelerators.kind
            if accelerators.topology is not None:
                selector["cloud.google.com/gke-tpu-topology"] = accelerators.topology
        elif accelerators.kind != "gpu":
            # Vertex AI's NVIDIA_TESLA_A100 is GKE's nvidia-tesla-a100.
            selector["cloud.google.com/gke-accelerator"] = accelerators.kind.lower().replace("_", "-")
    if job.provisioning == "spot":
        tolerations.append(
            {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        )
    volumes = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(settings.volumes)
    ]
    mounts = [{"name": f"volume-{number}", "mountPath": path} for number, path in enumerate(settings.volumes.values())]
    if accelerators is not None and not job.is_tpu:
        # NCCL hands data between the GPUs of a machine through shared memory; a container has 64 MB of it.
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    return Placement(selector, tolerations, resources, volumes, mounts)


def _pod_spec(job: Job, command: RemoteCommand) -> dict[str, Any]:
    settings, placed = job.kubernetes, placement(job)
    container = {
        "name": "trainer",
        "image": job.image,
        "command": ["/bin/sh", "-c", command.once()],
        "env": _environment(job, command),
        "ports": [{"containerPort": PORT}],
        "resources": placed.resources,
        "securityContext": CONTAINER_RIGHTS,
        **({"volumeMounts": placed.mounts} if placed.mounts else {}),
    }
    account = settings.service_account
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": SPOT_GRACE_SECONDS if job.provisioning == "spot" else GRACE_SECONDS,
        **({} if account is None else {"serviceAccountName": account}),
        **({"subdomain": job.name} if settings.kind == "job" and job.num_workers > 1 else {}),
        **({"nodeSelector": placed.selector} if placed.selector else {}),
        **({"tolerations": placed.tolerations} if placed.tolerations else {}),
        "containers": [container],
        **({"volumes": placed.volumes} if placed.volumes else {}),
    }


def _environment(job: Job, command: RemoteCommand) -> list[dict[str, Any]]:
    """Variables of a worker: what model/training/cluster/kubernetes.py makes the cluster from, and the configuration."""
    plain = {**job.environment, "CLOZEKIT_NUM_WORKERS": str(job.num_workers), CONFIG_VARIABLE: command.config}
    annotations = {}
    if job.kubernetes.kind == "jobset":
        annotations = {
            "JOBSET_NAME": "jobset.sigs.k8s.io/jobset-name",
            "REPLICATED_JOB_NAME": "jobset.sigs.k8s.io/replicatedjob-name",
            "REPLICATED_JOB_REPLICAS": "jobset.sigs.k8s.io/replicatedjob-replicas",
            "JOB_INDEX": "jobset.sigs.k8s.io/job-index",
        }
    if job.num_workers > 1:
        plain["CLOZEKIT_SUBDOMAIN"] = job.name
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *(
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{key}']"}}}
            for name, key in annotations.items()
        ),
    ]


def _headless_service(job: Job) -> dict[str, Any]:
    """What gives the pods of an Indexed Job names that the others find."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": job.name,
            "namespace": job.kubernetes.namespace,
            "labels": {**job.labels, "app.kubernetes.io/name": "clozekit"},
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": job.name},
            "ports": [{"name": "grpc", "port": PORT}],
        },
    }


def render(job: Job, command: RemoteCommand) -> str:
    """What `kubectl apply -f -` takes."""
    return "---\n".join(yaml.safe_dump(manifest, sort_keys=False, width=120) for manifest in manifests(job, command))


@contextmanager
def _kubernetes_errors(job: Job) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    place = f"the cluster (namespace {job.kubernetes.namespace})"
    try:
        yield
    except ApiException as error:
        reason = one_line(_message(error))
        if error.status == 401 or error.status == 403:
            raise CredentialsError(
                f"{place} must allow it, it answered {reason}; log in (gcloud container clusters get-credentials), or ask"
                " for the role"
            ) from error
        if error.status == 404:
            raise PlaceError(
                f"{place} must have what the job needs, it answered {reason}; install JobSet or set kubernetes.kind=job,"
                " and check the namespace"
            ) from error
        if error.status == 409:
            raise NameTakenError(
                f"the name of a job must be free, {job.name} is not: {reason}; choose another"
            ) from error
        if error.status >= 500:
            raise UnavailableError(f"{place} must be reachable, it answered {reason}; run it again") from error
        raise RefusedError(f"{place} refused {job.name}: {reason}; change the job and submit it again") from error
    except HTTPError as error:
        raise UnavailableError(
            f"{place} must be reachable, it is not ({one_line(error)}); check the network"
        ) from error


def _message(error: Any) -> str:
    try:
        return str(yaml.safe_load(error.body)["message"])
    except (TypeError, KeyError, AttributeError, yaml.YAMLError):
        return f"{error.status} {error.reason}"


def _connect(job: Job) -> Any:
    """Kubernetes' client for the context of the job. Raises CredentialsError when the kubeconfig has none."""
    require_extras("a job for gke", "gke", instead=", or send the output of --dry-run to `kubectl apply -f -`")
    import kubernetes

    try:
        return kubernetes.config.new_client_from_config(context=job.kubernetes.context)
    except kubernetes.config.ConfigException as error:
        raise CredentialsError(
            f"a job for gke needs a kubeconfig, there is none that holds ({one_line(error)}); run `gcloud container"
            " clusters get-credentials CLUSTER`, or set KUBECONFIG or kubernetes.context"
        ) from error


def _call(job: Job, method: str, name: str | None = None, body: Any = None) -> Any:
    """The API call `method` (get, create, delete) on the job itself."""
    import kubernetes

    client, namespace = _connect(job), job.kubernetes.namespace
    named = [] if name is None else [name]
    given = {} if body is None else {"body": body}
    with _kubernetes_errors(job):
        if job.kubernetes.kind == "job":
            verb = "read" if method == "get" else method
            call = getattr(kubernetes.client.BatchV1Api(client), f"{verb}_namespaced_job")
            policy = {"propagation_policy": "Foreground"} if method == "delete" else {}
            # As it stands in the manifest: the client's own classes rename the fields.
            return client.sanitize_for_serialization(call(*named, namespace=namespace, **given, **policy))
        call = getattr(kubernetes.client.CustomObjectsApi(client), f"{method}_namespaced_custom_object")
        place = (JOBSET_GROUP, JOBSET_VERSION, namespace, "jobsets")
        return call(*place, *named, **given)


def find(job: Job) -> JobState | None:
    """The job of that name in the cluster, None when there is none."""
    from kubernetes.client.exceptions import ApiException

    try:
        found = _call(job, "get", job.name)
    except PlaceError as error:
        cause = error.__cause__
        # A cluster without JobSet answers 404 too, but names no object.
        if isinstance(cause, ApiException) and job.name in str(cause.body):
            return None
        raise
    return _state(job, found)


def refresh(job: Job, state: JobState) -> JobState:
    return _state(job, _call(job, "get", job.name))


def _state(job: Job, found: dict[str, Any]) -> JobState:
    kind = found.get("kind") or ("Job" if job.kubernetes.kind == "job" else "JobSet")
    status = found.get("status") or {}
    conditions = {entry["type"]: entry for entry in status.get("conditions") or [] if entry["status"] == "True"}
    phase, detail = WAITING, "Pending"
    for name, meaning in (
        ("Completed", SUCCEEDED),
        ("Complete", SUCCEEDED),
        ("Failed", FAILED),
        ("Suspended", WAITING),
    ):
        if name in conditions:
            entry = conditions[name]
            phase, detail = meaning, ": ".join(filter(None, (entry.get("reason") or name, entry.get("message"))))
            break
    else:
        ready = [entry.get("ready", 0) for entry in status.get("replicatedJobsStatus") or []]
        if status.get("active") or any(ready):
            phase, detail = RUNNING, "Active"
    if found["metadata"].get("deletionTimestamp"):
        phase, detail = CANCELLED, "being deleted"
    look = f"kubectl --namespace {job.kubernetes.namespace} get {kind.lower()} {job.name}"
    labels = found["metadata"].get("labels") or {}
    return JobState(job.name, found["metadata"].get("uid", ""), phase, detail, labels.get(FINGERPRINT, ""), look)


def start(job: Job, command: RemoteCommand) -> JobState:
    import kubernetes

    itself, *others = manifests(job, command)
    created = _call(job, "create", body=itself)
    client = _connect(job)
    for service in others:
        # The service goes with its job.
        owner = {"apiVersion": itself["apiVersion"], "kind": itself["kind"], "name": job.name}
        service["metadata"]["ownerReferences"] = [{**owner, "uid": created["metadata"]["uid"]}]
        with _kubernetes_errors(job):
            kubernetes.client.CoreV1Api(client).create_namespaced_service(job.kubernetes.namespace, service)
    return _state(job, created)


def cancel(job: Job, state: JobState) -> None:
    _call(job, "delete", job.name)


def clear(job: Job, state: JobState) -> None:
    """Deletes a job that has ended and waits until its name is free."""
    cancel(job, state)
    while find(job) is not None:
        time.sleep(1)


def log_reader(job: Job, state: JobState) -> Callable[[], list[str]]:
    """A function that returns the lines that the first worker has printed since it was last called."""
    import kubernetes
    from kubernetes.client.exceptions import ApiException

    api = kubernetes.client.CoreV1Api(_connect(job))
    label = "jobset.sigs.k8s.io/jobset-name" if job.kubernetes.kind == "jobset" else "batch.kubernetes.io/job-name"
    selector = f"{label}={job.name},batch.kubernetes.io/job-completion-index=0"
    began = datetime.datetime.now(datetime.UTC)
    last = ""

    def read() -> list[str]:
        nonlocal last
        with _kubernetes_errors(job):
            pods = api.list_namespaced_pod(job.kubernetes.namespace, label_selector=selector).items
            lines: list[str] = []
            for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
                elapsed = int((datetime.datetime.now(datetime.UTC) - began).total_seconds()) + 3600
                try:
                    text = api.read_namespaced_pod_log(
                        pod.metadata.name, job.kubernetes.namespace, timestamps=True, since_seconds=elapsed
                    )
                except ApiException as error:
                    if error.status in (400, 404):
                        # Not started yet, or gone meanwhile.
                        continue
                    raise
                lines += [line for line in str(text).splitlines() if line.split(" ", 1)[0] > last]
        if lines:
            last = max(line.split(" ", 1)[0] for line in lines)
        return [line.partition(" ")[2] for line in lines]

    return read


BACKEND = Backend(
    "gke",
    command,
    render,
    find,
    start,
    refresh,
    cancel,
    log_reader,
    keeps_names=True,
    clear=clear,
)
