"""Kubernetes: the workers of an Indexed Job or a JobSet, from the host names that their pods have."""

from collections.abc import Mapping

from clozekit.model.training.cluster.worker_addresses import DEFAULT_PORT, ClusterSpec, whole_number
from clozekit.model.training.settings.loop_settings import MAX_WORKERS, ClusterSettings
from clozekit.tokenizers.common.errors import InputError

# Kubernetes tells a pod its index and its host name; how many there are and their subdomain the manifest must say.
NUM_WORKERS, SUBDOMAIN = "CLOZEKIT_NUM_WORKERS", "CLOZEKIT_SUBDOMAIN"


def _num_workers(environment: Mapping[str, str], config: ClusterSettings, source: str) -> int:
    if config.num_workers is not None:
        return config.num_workers
    if NUM_WORKERS not in environment:
        raise InputError(
            f"{source} does not tell a pod how many there are: set {NUM_WORKERS} in the manifest or cluster.num_workers"
            " (1 for a pod that trains alone)"
        )
    return whole_number(NUM_WORKERS, environment[NUM_WORKERS], 1, MAX_WORKERS)


def _ending(hostname: str, parts: tuple[str, ...], source: str) -> str:
    """`hostname` without its last `parts`; raises InputError when it does not end with them."""
    ending = "".join(f"-{part}" for part in parts)
    if not hostname.endswith(ending) or len(hostname) == len(ending):
        raise InputError(
            f"the host name of a pod of {source} must end with {ending}, it is {hostname!r}; leave HOSTNAME as"
            " Kubernetes sets it"
        )
    return hostname[: -len(ending)]


def indexed_job_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec | None:
    """The pods of an Indexed Job, named <job>-<index>.<subdomain>; None elsewhere."""
    if "JOB_COMPLETION_INDEX" not in environment or "JOBSET_NAME" in environment:
        return None
    source = "the Indexed Job"
    index = whole_number("JOB_COMPLETION_INDEX", environment["JOB_COMPLETION_INDEX"])
    count = _num_workers(environment, config, source)
    if count == 1:
        return ClusterSpec(source, (), index)
    job = _ending(environment.get("HOSTNAME", ""), (str(index),), source)
    if SUBDOMAIN not in environment:
        raise InputError(
            f"the pods of an Indexed Job find one another by a headless service: set {SUBDOMAIN} to its name, which is"
            " also the pods' `subdomain`"
        )
    port = DEFAULT_PORT if config.port is None else config.port
    addresses = tuple(f"{job}-{number}.{environment[SUBDOMAIN]}:{port}" for number in range(count))
    return ClusterSpec(source, addresses, index)


def jobset_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec | None:
    """The pods of a JobSet's replicated job, named <jobset>-<replicated job>-<job>-<pod>.<subdomain>; None elsewhere.

    JOBSET_NAME, REPLICATED_JOB_NAME, REPLICATED_JOB_REPLICAS and JOB_INDEX come from the pod's annotations by the
    manifest; one job if the last two are not set. The subdomain is the JobSet's name unless CLOZEKIT_SUBDOMAIN says
    otherwise.
    """
    if "JOBSET_NAME" not in environment:
        return None
    source = "the JobSet"
    missing = [name for name in ("REPLICATED_JOB_NAME", "JOB_COMPLETION_INDEX") if name not in environment]
    if missing:
        raise InputError(
            f"a pod of a JobSet needs its place in it, {' and '.join(missing)} not set; take them over from the pod's"
            " annotations in the manifest"
        )
    pod = whole_number("JOB_COMPLETION_INDEX", environment["JOB_COMPLETION_INDEX"])
    job = whole_number("JOB_INDEX", environment.get("JOB_INDEX", "0"))
    num_jobs = whole_number("REPLICATED_JOB_REPLICAS", environment.get("REPLICATED_JOB_REPLICAS", "1"), least=1)
    count = _num_workers(environment, config, source)
    if count % num_jobs:
        raise InputError(f"the workers must divide evenly over the jobs, got {count} workers and {num_jobs} jobs")
    num_pods = count // num_jobs
    if job >= num_jobs or pod >= num_pods:
        raise InputError(
            f"a pod's index must be below the number of pods, the JobSet says pod {pod} of {num_pods} in job {job} of"
            f" {num_jobs}; set {NUM_WORKERS} to all pods of all jobs"
        )
    if count == 1:
        return ClusterSpec(source)
    name = f"{environment['JOBSET_NAME']}-{environment['REPLICATED_JOB_NAME']}"
    if "HOSTNAME" in environment and environment["HOSTNAME"] != f"{name}-{job}-{pod}":
        raise InputError(
            f"a pod of a JobSet must be called {name}-{job}-{pod}, it is {environment['HOSTNAME']!r}; take JOBSET_NAME,"
            " REPLICATED_JOB_NAME and JOB_INDEX over from the pod's annotations"
        )
    subdomain = environment.get(SUBDOMAIN, environment["JOBSET_NAME"])
    port = DEFAULT_PORT if config.port is None else config.port
    addresses = [f"{name}-{j}-{p}.{subdomain}:{port}" for j in range(num_jobs) for p in range(num_pods)]
    return ClusterSpec(source, tuple(addresses), job * num_pods + pod)
