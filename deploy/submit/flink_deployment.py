"""A Flink cluster of a job's own as the Flink Kubernetes Operator takes it, Beam's workers beside it, and what starts it."""

import dataclasses
import shlex
from typing import Any

import yaml

from clozekit.deploy.submit.job_spec import FINGERPRINT, Job
from clozekit.deploy.submit.portable_jobs import worker_options
from clozekit.deploy.submit.remote_command import CONFIG_FILE, CONFIG_VARIABLE
from clozekit.deploy.submit.remote_prepare import PrepareCommand, check_places, without_option
from clozekit.deploy.submit.remote_stream import StreamCommand, check_stream_places
from clozekit.tokenizers.common.errors import InputError

REST_PORT, JOB_PORT, ARTIFACT_PORT = 8081, 8099, 8098
BAD_INPUT = 2
CHECKPOINTS = "state.checkpoints.dir"
JOB_FILE, JOB_VARIABLE = "/tmp/clozekit-job.yaml", "CLOZEKIT_JOB"
# Where `flink.image` has Beam's job server: Beam keeps workers from stage to stage only where its classes are Flink's own.
JOB_SERVER_JAR = "/opt/flink/lib/beam-job-server.jar"


def flink_options(job: Job, fingerprint: str, rest_address: str, streams: bool = False) -> list[str]:
    """The options of Beam's FlinkRunner, but for where the job server is. streams: with checkpoints, and without workers that are
    kept, which would be all that a restart finds, dead ones too."""
    parallelism = job.num_workers * job.flink.slots
    workers = worker_options(job, fingerprint, job.flink.environment, keeps_workers=not streams)
    interval = f"--checkpointing_interval={1000 * job.flink.checkpoint_seconds}"
    begun = [] if job.flink.savepoint is None else [f"--savepoint_path={job.flink.savepoint}"]
    saving = [interval, "--finish_bundle_before_checkpointing", *begun] if streams else []
    return [f"--flink_master={rest_address}", f"--parallelism={parallelism}", *workers, *saving]


def check_deployment(job: Job, command: PrepareCommand | StreamCommand) -> PrepareCommand | StreamCommand:
    """Raises InputError where the manifests would lack something, or name a place that no pod reaches."""
    job.needs("flink without flink.rest_address", "image", "flink.image")
    if job.flink.job_endpoint is not None:
        raise InputError(
            f"a cluster of the job's own has its own job server, got flink.job_endpoint {job.flink.job_endpoint}; leave it out,"
            " or give flink.rest_address too"
        )
    mounted = list(job.kubernetes.volumes.values())
    if isinstance(command, StreamCommand):
        if CHECKPOINTS not in job.flink.configuration:
            raise InputError(
                f"a stream on a cluster of its own keeps its checkpoints where every pod reaches them, got no {CHECKPOINTS} in"
                " flink.configuration; add one (gs://bucket/checkpoints, of a file system that flink.image has)"
            )
        check_stream_places(command, "Flink's", mounted)
        return command
    command = dataclasses.replace(command, words=tuple(without_option(command.words, "--runner")))
    check_places(command, "Flink's", True, mounted)
    return command


def manifests(job: Job, command: PrepareCommand | StreamCommand, fingerprint: str) -> list[dict[str, Any]]:
    """The cluster, and the Kubernetes Job that gives it the work and writes the report."""
    labels = {**job.labels, FINGERPRINT: fingerprint, "app.kubernetes.io/name": "clozekit"}
    namespace = job.kubernetes.namespace
    cluster = {
        "apiVersion": "flink.apache.org/v1beta1",
        "kind": "FlinkDeployment",
        "metadata": {"name": job.name, "namespace": namespace, "labels": labels},
        "spec": _cluster(job, isinstance(command, StreamCommand)),
    }
    seconds = job.seconds()
    submission = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{job.name}-{command.words[0]}", "namespace": namespace, "labels": dict(labels)},
        "spec": {
            # Run again, `prepare` goes on with what is missing, and a stream that is there is not sent twice.
            "backoffLimit": job.max_restarts,
            **({} if seconds is None else {"activeDeadlineSeconds": seconds}),
            "podFailurePolicy": {
                "rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [BAD_INPUT]}}]
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": _submission(job, command, fingerprint)},
        },
    }
    return [cluster, submission]


def _cluster(job: Job, streams: bool) -> dict[str, Any]:
    settings = job.flink
    # Flink has none for batch jobs, and a lost TaskManager would fail the job. A stream has no end in which to count them.
    restarts = {
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": str(job.max_restarts),
        "restart-strategy.fixed-delay.delay": "10 s",
    }
    restarts = {"restart-strategy.type": "exponential-delay"} if streams else restarts
    resource = {"cpu": _cpus(job.kubernetes.cpu), "memory": job.kubernetes.memory}
    return {
        "image": settings.image,
        "flinkVersion": f"v{settings.version.replace('.', '_')}",
        "serviceAccount": job.kubernetes.service_account or "flink",
        "flinkConfiguration": {
            "taskmanager.numberOfTaskSlots": str(settings.slots),
            # Some 200 tasks, each with buffers of its own.
            "taskmanager.memory.network.min": settings.network_memory,
            "taskmanager.memory.network.max": settings.network_memory,
            "classloader.resolve-order": "parent-first",
            **restarts,
            **settings.configuration,
        },
        "jobManager": {"resource": {"cpu": 1, "memory": "2048m"}},
        "taskManager": {
            "resource": resource,
            "podTemplate": {
                "spec": {**_placed(job), "containers": [_flink_container(job), _worker_pool(job)], **_volumes(job)}
            },
        },
    }


def _cpus(text: str) -> float:
    """The operator takes a number where Kubernetes takes 500m too."""
    try:
        return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
    except ValueError as error:
        raise InputError(f'kubernetes.cpu must be a number of CPUs such as "4" or 500m, got {text!r}') from error


def _flink_container(job: Job) -> dict[str, Any]:
    """What the operator fills in by this name."""
    return {"name": "flink-main-container", **_mounts(job)}


def _worker_pool(job: Job) -> dict[str, Any]:
    port = int(job.flink.environment.rpartition(":")[2])
    words = ["python", "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    return {
        "name": "worker-pool",
        "image": job.image,
        "command": words,
        "env": [{"name": name, "value": value} for name, value in job.environment.items()],
        "ports": [{"containerPort": port}],
        "resources": {"requests": {"cpu": job.kubernetes.cpu, "memory": job.kubernetes.memory}},
        **_mounts(job),
    }


def _submission(job: Job, command: PrepareCommand | StreamCommand, fingerprint: str) -> dict[str, Any]:
    """A pod of Beam's job server, which lives as long as the command, and the command."""
    rest = f"{job.name}-rest:{REST_PORT}"
    server = ["java", "-jar", job.flink.job_server_jar or JOB_SERVER_JAR, f"--flink-master={rest}"]
    server += [f"--job-port={JOB_PORT}", f"--artifact-port={ARTIFACT_PORT}", "--expansion-port=-1"]
    if isinstance(command, StreamCommand):
        words = ["clozekit", "submit", "flink", JOB_FILE, "--", "stream", CONFIG_FILE, *command.words[2:]]
        files = {JOB_VARIABLE: (JOB_FILE, _inside(job, rest)), CONFIG_VARIABLE: (CONFIG_FILE, command.config)}
    else:
        ours, beams = _split(command)
        beam_words = [f"--job_endpoint=localhost:{JOB_PORT}", *flink_options(job, fingerprint, rest), *beams]
        words = ["clozekit", *ours, "--runner", "FlinkRunner", "--", *beam_words]
        files = {} if command.config is None else {CONFIG_VARIABLE: (CONFIG_FILE, command.config)}
    environment = {**job.environment, **{variable: text for variable, (_, text) in files.items()}}
    written = [f'printf %s "${variable}" > {path} && ' for variable, (path, _) in files.items()]
    line = f"{''.join(written)}exec {shlex.join(words)}"
    return {
        "restartPolicy": "Never",
        "serviceAccountName": job.kubernetes.service_account or "flink",
        # Always: it ends when the command has.
        "initContainers": [
            {
                "name": "job-server",
                "image": job.flink.image,
                "restartPolicy": "Always",
                "command": server,
                "startupProbe": {"tcpSocket": {"port": JOB_PORT}, "failureThreshold": 60, "periodSeconds": 2},
            }
        ],
        "containers": [
            {
                "name": command.words[0],
                "image": job.image,
                "command": ["/bin/sh", "-c", line],
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "resources": {"requests": {"cpu": "1", "memory": "2Gi"}},
                **_mounts(job),
            }
        ],
        **_volumes(job),
    }


def _inside(job: Job, rest: str) -> str:
    """The job as it is sent from inside of Kubernetes: to its own cluster, by the job server beside it."""
    settings = job.flink
    flink: dict[str, Any] = {
        "rest_address": rest,
        "job_endpoint": f"localhost:{JOB_PORT}",
        "environment": settings.environment,
    }
    flink |= {"slots": settings.slots, "checkpoint_seconds": settings.checkpoint_seconds}
    flink |= {} if settings.savepoint is None else {"savepoint": settings.savepoint}
    return yaml.safe_dump({"name": job.name, "num_workers": job.num_workers, "flink": flink}, sort_keys=False)


def _split(command: PrepareCommand) -> tuple[list[str], list[str]]:
    """The words of `prepare`, its recipe being the file that travels along, and those of Beam behind `--`."""
    file = command.recipe.file
    words = [
        CONFIG_FILE
        if file is not None and word == str(file)
        else word.replace(f"--config={file}", f"--config={CONFIG_FILE}")
        for word in command.words
    ]
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def _placed(job: Job) -> dict[str, Any]:
    selector = dict(job.kubernetes.node_selector)
    tolerations = []
    if job.machine is not None:
        selector["node.kubernetes.io/instance-type"] = job.machine
    if job.provisioning == "spot":
        selector["cloud.google.com/gke-spot"] = "true"
        toleration = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        tolerations.append(toleration)
    return {
        **({"nodeSelector": selector} if selector else {}),
        **({"tolerations": tolerations} if tolerations else {}),
    }


def _volumes(job: Job) -> dict[str, Any]:
    volumes = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(job.kubernetes.volumes)
    ]
    return {"volumes": volumes} if volumes else {}


def _mounts(job: Job) -> dict[str, Any]:
    paths = enumerate(job.kubernetes.volumes.values())
    mounts = [{"name": f"volume-{number}", "mountPath": path} for number, path in paths]
    return {"volumeMounts": mounts} if mounts else {}


def render_deployment(job: Job, command: PrepareCommand | StreamCommand, fingerprint: str) -> str:
    """What `kubectl apply -f -` takes."""
    found = manifests(job, command, fingerprint)
    return "---\n".join(yaml.safe_dump(each, sort_keys=False, width=120) for each in found)
