"""The cluster a process belongs to, from its environment: how many workers, which one it is, where the others listen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clozekit.model.training.cluster.kubernetes import indexed_job_cluster, jobset_cluster
from clozekit.model.training.cluster.slurm_cluster import slurm_cluster
from clozekit.model.training.cluster.tensorflow_environments import tf_config_cluster, tpu_cluster, vertex_cluster
from clozekit.model.training.cluster.worker_addresses import ClusterSpec
from clozekit.model.training.settings.loop_settings import ClusterSettings
from clozekit.tokenizers.common.errors import InputError

Resolver = Callable[[Mapping[str, str], ClusterSettings], ClusterSpec | None]

# The more explicit ones first: of those that agree, the first one's addresses are taken.
RESOLVERS: dict[str, Resolver] = {
    "vertex": vertex_cluster,
    "tf_config": tf_config_cluster,
    "slurm": slurm_cluster,
    "jobset": jobset_cluster,
    "indexed_job": indexed_job_cluster,
    "tpu": tpu_cluster,
}


@dataclass(frozen=True)
class Found:
    """A cluster and the name of the resolver that found it."""

    name: str
    spec: ClusterSpec


def resolve_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec:
    """The cluster that `environment` describes; one worker alone when it describes none.

    Raises InputError when it is half described, or described twice and differently.
    """
    if config.environment == "none":
        return ClusterSpec()
    if config.environment != "auto":
        spec = RESOLVERS[config.environment](environment, config)
        if spec is None:
            raise InputError(
                f"cluster.environment must be where the process runs, it is {config.environment} and no variable of"
                f" {config.environment} is set; start it there or set cluster.environment=auto"
            )
        return _checked(spec, config)
    answers = ((name, resolver(environment, config)) for name, resolver in RESOLVERS.items())
    found = [Found(name, spec) for name, spec in answers if spec is not None]
    if not found:
        return _checked(ClusterSpec(), config)
    first = found[0]
    for other in found[1:]:
        same = (other.spec.task_index, other.spec.num_workers) == (first.spec.task_index, first.spec.num_workers)
        if not same:
            raise InputError(
                f"the environment must describe one cluster, {first.spec} and {other.spec}; set cluster.environment to"
                f" {first.name} or {other.name}, or unset the variables that are wrong"
            )
    # A host with TPUs is known to its own variables only, the place among the workers to the others too.
    tpu = next((entry.spec for entry in found if entry.spec.tpu is not None), None)
    return _checked(first.spec if tpu is None else tpu, config)


def _checked(spec: ClusterSpec, config: ClusterSettings) -> ClusterSpec:
    if config.num_workers is not None and config.num_workers != spec.num_workers:
        raise InputError(
            f"cluster.num_workers must be what the environment says, got {config.num_workers} and {spec}; leave it out"
            " or start as many workers"
        )
    return spec


def choose_strategy(spec: ClusterSpec, config: ClusterSettings, num_gpus: int) -> str:
    """one_device, mirrored, multi_worker or tpu: what the config asks for, else what the machine and its cluster have.

    Raises InputError when what is asked for can't be had there.
    """
    asked = config.strategy
    if asked == "auto":
        if spec.tpu is not None:
            return "tpu"
        several = max(num_gpus, config.num_cpu_devices) > 1
        asked = "multi_worker" if spec.num_workers > 1 else "mirrored" if several else "one_device"
    if spec.num_workers > 1 and asked != "multi_worker":
        raise InputError(
            f"cluster.strategy must be multi_worker where there are several workers, got {asked} and {spec}: each worker"
            " would train its own model into the same directory; leave cluster.strategy out, or start one process with"
            " cluster.environment=none"
        )
    if asked == "multi_worker" and config.num_cpu_devices > 1:
        raise InputError(
            f"cluster.num_cpu_devices must be 1 under multi_worker, which uses one CPU device a process, got"
            f" {config.num_cpu_devices}; start more processes"
        )
    if asked == "mirrored" and num_gpus and config.num_cpu_devices > 1:
        raise InputError(
            f"cluster.num_cpu_devices must be 1 on a machine with GPUs, got {config.num_cpu_devices} and {num_gpus}"
            " GPUs; leave it out, or hide the GPUs with CUDA_VISIBLE_DEVICES=-1"
        )
    return asked
