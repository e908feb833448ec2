"""The job spec: what one job needs, wherever it runs; one YAML file, from which every backend renders its own request."""

import dataclasses
import hashlib
import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, check_choice, make_settings, read_mapping

PROVISIONING = ("standard", "spot", "flex_start")
# Set by what submits; a spec that sets them too would contradict it.
OWN_VARIABLES = (
    "CLOZEKIT_CONFIG",
    "CLOZEKIT_NUM_WORKERS",
    "CLOZEKIT_SUBDOMAIN",
    "JOBSET_NAME",
    "REPLICATED_JOB_NAME",
    "REPLICATED_JOB_REPLICAS",
    "JOB_INDEX",
    "TF_CONFIG",
    "TPU_NAME",
)
# The label or annotation that says which spec and command a job was made from.
FINGERPRINT = "clozekit-fingerprint"


@dataclass(frozen=True)
class Accelerators:
    """What is in each worker's machine.

    kind: as the platform calls it (NVIDIA_TESLA_A100 on Vertex AI, nvidia-tesla-a100 or tpu-v5-lite-podslice on GKE,
    v5litepod-8 as a TPU VM, a100 for Slurm; gpu where any will do); topology: of a TPU slice, such as 2x4.
    """

    kind: str
    count: int = 1
    topology: str | None = None

    def __post_init__(self) -> None:
        check("accelerators.count must be at least 1", self.count >= 1, self.count)


@dataclass(frozen=True)
class Budget:
    """When a job ends though it is not done. hours: after so long; cost with price_per_hour (of one worker, in one
    currency): when the workers together have cost so much. The smaller one counts."""

    hours: float | None = None
    cost: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name in ("hours", "cost", "price_per_hour"):
            value = getattr(self, name)
            check(f"budget.{name} must be above 0", value is None or value > 0, value)
        both = (self.cost is None) == (self.price_per_hour is None)
        rule = "budget.cost and budget.price_per_hour belong together"
        check(rule, both, [self.cost, self.price_per_hour], advice="give both or neither")

    def seconds(self, num_workers: int) -> int | None:
        """How long the job may run; None without a limit."""
        limits = [] if self.hours is None else [self.hours]
        if self.cost is not None and self.price_per_hour is not None:
            limits.append(self.cost / (self.price_per_hour * num_workers))
        return max(60, round(min(limits) * 3600)) if limits else None


@dataclass(frozen=True)
class DataflowSettings:
    """temp_location: a folder of a bucket for staged and temporary files. setup_file: in place of an image, a setup.py
    whose package every worker installs. max_workers: Dataflow scales from num_workers up to it. update: of a stream, the
    running job of this name hands what it holds over to the new one. endpoint: of the API."""

    temp_location: str | None = None
    setup_file: str | None = None
    max_workers: int | None = None
    disk_type: str | None = None
    public_ips: bool = True
    harness_threads: int | None = None
    experiments: tuple[str, ...] = ()
    update: bool = False
    endpoint: str | None = None

    def __post_init__(self) -> None:
        for name in ("max_workers", "harness_threads"):
            value = getattr(self, name)
            check(f"dataflow.{name} must be at least 1", value is None or value >= 1, value)
        place = self.temp_location
        rule = "dataflow.temp_location must be a folder of a bucket (gs://bucket/temp)"
        check(rule, place is None or re.fullmatch(r"gs://[^/]+/.+", place) is not None, place)


@dataclass(frozen=True)
class VertexSettings:
    """tensorboard: the id or full name of a Vertex AI TensorBoard that gets the run's events (needs `service_account` and
    `output`). max_wait_hours: how long a flex_start job may wait for machines. web_access: a shell in the containers."""

    tensorboard: str | None = None
    max_wait_hours: float | None = None
    web_access: bool = False
    disk_type: str = "pd-ssd"

    def __post_init__(self) -> None:
        hours = self.max_wait_hours
        check("vertex.max_wait_hours must be at least 0", hours is None or hours >= 0, hours)


@dataclass(frozen=True)
class KubernetesSettings:
    """kind: jobset, or job for a cluster without JobSet (an Indexed Job and a headless service). queue: the Kueue
    LocalQueue that admits the job. volumes: persistent volume claim -> where it is mounted. context: of the kubeconfig."""

    kind: str = "jobset"
    namespace: str = "default"
    context: str | None = None
    queue: str | None = None
    cpu: str = "4"
    memory: str = "16Gi"
    service_account: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("kubernetes.kind", self.kind, ("jobset", "job"))
        relative = [path for path in self.volumes.values() if not path.startswith("/")]
        check("kubernetes.volumes must be mounted at absolute paths", not relative, relative)


@dataclass(frozen=True)
class TPUSettings:
    """runtime_version: the software of the TPU VM. max_wait_hours: when a request that was not filled ends.
    keep: leaves the TPU (and its price) when the command has ended."""

    runtime_version: str = "v2-alpha-tpuv5-lite"
    max_wait_hours: float | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        hours = self.max_wait_hours
        check("tpu.max_wait_hours must be above 0", hours is None or hours > 0, hours)


def _check_address(name: str, value: str | None) -> None:
    check(f"{name} must look like host:8081", value is None or re.fullmatch(r"[^/:\s]+:\d+", value) is not None, value)


@dataclass(frozen=True)
class FlinkSettings:
    """rest_address: of a session cluster that runs (jobmanager:8081), with Beam's worker pools at `environment`; without it the
    job is a cluster of its own, for the Flink Kubernetes Operator. job_endpoint: Beam's job server (localhost:8099);
    job_server_jar: its jar, started for the command: here where there is a rest_address, else a path in `image`. slots: of each
    TaskManager; a job takes num_workers times so many. image: Flink's, of `version`, with Beam's job server in its lib folder.
    network_memory: of a TaskManager. checkpoint_seconds: how often a stream saves where it is; savepoint: of a stream, that
    this one goes on from. configuration: of Flink, over what the manifest has."""

    rest_address: str | None = None
    job_endpoint: str | None = None
    job_server_jar: str | None = None
    environment: str = "localhost:50000"
    slots: int = 1
    image: str | None = None
    version: str = "1.19"
    network_memory: str = "512m"
    checkpoint_seconds: int = 10
    savepoint: str | None = None
    configuration: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rest_address", "job_endpoint", "environment"):
            _check_address(f"flink.{name}", getattr(self, name))
        check("flink.slots must be at least 1", self.slots >= 1, self.slots)
        rule = "flink.checkpoint_seconds must be at least 1"
        check(rule, self.checkpoint_seconds >= 1, self.checkpoint_seconds)
        check("flink.version must look like 1.19", re.fullmatch(r"\d+\.\d+", self.version) is not None, self.version)
        both = self.job_endpoint is not None and self.job_server_jar is not None
        rule = "a job server runs (flink.job_endpoint) or is started (flink.job_server_jar)"
        check(rule, not both, [self.job_endpoint, self.job_server_jar], advice="give one of them")


@dataclass(frozen=True)
class SparkSettings:
    """job_endpoint: of Beam's job server for Spark (localhost:8099), the driver of what it is given. environment: where Beam's worker
    pools answer, as the executors see it."""

    job_endpoint: str | None = None
    environment: str = "localhost:50000"

    def __post_init__(self) -> None:
        for name in ("job_endpoint", "environment"):
            _check_address(f"spark.{name}", getattr(self, name))


@dataclass(frozen=True)
class SlurmSettings:
    """setup: shell lines before the command (module load, source venv/bin/activate). container: how `image` is run:
    apptainer or pyxis; without an image the command is the one of the environment. folder: where script, configuration
    and log go, on the file system that the nodes share."""

    folder: str = "clozekit-jobs"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    cpus_per_task: int | None = None
    memory: str | None = None
    setup: tuple[str, ...] = ()
    container: str = "apptainer"

    def __post_init__(self) -> None:
        check_choice("slurm.container", self.container, ("apptainer", "pyxis"))
        for name in ("partition", "account", "qos", "constraint", "memory", "folder"):
            value = getattr(self, name)
            rule = f"slurm.{name} must be one word of letters, digits and -_.,:/&|[]*"
            check(rule, value is None or re.fullmatch(r"[\w.,:/&|\[\]*-]+", value) is not None, value)


@dataclass(frozen=True)
class Job:
    """One job. What is not given is left to the platform; a backend says which keys it needs.

    name: also the job's name on the platform, where it is unique. image: of a worker. machine: the type of a worker's
    machine. num_workers: machines that train together (for Dataflow: those it begins with; for Flink: TaskManagers). provisioning: standard; spot,
    cheap machines that may be taken away at any time; flex_start, machines that are waited for. max_restarts: of a job
    whose workers failed. output: where the results go, in place of the command's own `directory` or --output.
    environment: variables of the workers, readable by everybody who may see the job: no secrets.
    """

    name: str
    image: str | None = None
    machine: str | None = None
    accelerators: Accelerators | None = None
    num_workers: int = 1
    provisioning: str = "standard"
    max_restarts: int = 10
    disk_gb: int | None = None
    budget: Budget = field(default_factory=Budget)
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None
    project: str | None = None
    region: str | None = None
    zone: str | None = None
    service_account: str | None = None
    network: str | None = None
    subnetwork: str | None = None
    dataflow: DataflowSettings = field(default_factory=DataflowSettings)
    vertex: VertexSettings = field(default_factory=VertexSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    tpu: TPUSettings = field(default_factory=TPUSettings)
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    flink: FlinkSettings = field(default_factory=FlinkSettings)
    spark: SparkSettings = field(default_factory=SparkSettings)

    def __post_init__(self) -> None:
        # 40 leaves room for what JobSet puts behind it in a host name of 63.
        rule = "name must be at most 40 lower-case letters, digits and dashes, beginning with a letter"
        check(rule, re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", self.name) is not None, self.name)
        for name in ("num_workers", "disk_gb"):
            value = getattr(self, name)
            check(f"{name} must be at least 1", value is None or value >= 1, value)
        check("max_restarts must be at least 0", self.max_restarts >= 0, self.max_restarts)
        check_choice("provisioning", self.provisioning, PROVISIONING)
        rule = "a label must be lower-case letters, digits, - and _ (its key beginning with a letter), at most 63"
        for key, value in self.labels.items():
            fits = re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) and re.fullmatch(r"[a-z0-9_-]{0,63}", value)
            check(rule, bool(fits), f"{key}={value}")
        check(
            "a label must not be the one of Clozekit", FINGERPRINT not in self.labels, FINGERPRINT, advice="rename it"
        )
        for key in self.environment:
            rule = "the name of a variable must be letters, digits and _"
            check(rule, re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) is not None, key)
            rule = "environment must leave to Clozekit what it sets"
            check(rule, key not in OWN_VARIABLES, key, advice="leave it out")
        for name in ("image", "machine", "output", "project", "region", "zone", "service_account"):
            value = getattr(self, name)
            check(f"{name} must be one word", value is None or re.fullmatch(r"[^\s'\"]+", value) is not None, value)

        for name, form, example in (
            ("region", r"[a-z]+-[a-z]+\d+", "europe-west4"),
            ("zone", r".+\d+-[a-z]", "europe-west4-b"),
        ):
            value = getattr(self, name)
            check(f"{name} must look like {example}", value is None or re.fullmatch(form, value) is not None, value)

    @property
    def is_tpu(self) -> bool:
        return self.accelerators is not None and self.accelerators.kind.lower().startswith(
            ("tpu", "v2-", "v3-", "v4-", "v5", "v6")
        )

    def seconds(self) -> int | None:
        """How long the job may run; None without a limit."""
        return self.budget.seconds(self.num_workers)

    def needs(self, backend: str, *names: str) -> None:
        """Raises InputError unless the keys `names` (dotted) are given."""
        for name in names:
            value: Any = self
            for part in name.split("."):
                value = getattr(value, part)
            if value is None:
                raise InputError(f"a job for {backend} needs the key {name}, {self.name} does not have it; add it")

    def fingerprint(self, command: Sequence[str], config: str | None) -> str:
        """What tells this job with this command from any other: two submissions of one fingerprint are one job.

        Only keys that are not at their defaults count, so that a key that is new to Clozekit leaves it as it was."""
        decides = json.dumps([changed_fields(self), list(command), config], sort_keys=True)
        return hashlib.sha256(decides.encode()).hexdigest()[:16]


def changed_fields(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass, and of those in it, that are not at their defaults."""
    changed = {}
    for one in dataclasses.fields(settings):
        value = getattr(settings, one.name)
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        if value != default:
            changed[one.name] = changed_fields(value) if dataclasses.is_dataclass(value) else value
    return changed


def load_job(path: str | Path, changes: Sequence[str] = ()) -> Job:
    """The job of a YAML file, with changes such as "num_workers=4" or "vertex.web_access=true" on top.

    Raises InputError naming the key for one that is unknown, missing or of another type.
    """
    fields = read_mapping(path, "a job")
    apply_changes(fields, changes, "num_workers=4")
    return typing.cast(Job, make_settings(Job, fields, str(path)))
