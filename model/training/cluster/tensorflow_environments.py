"""TF_CONFIG, Vertex AI and TPU hosts: clusters that are described in TensorFlow's own terms."""

import json
from collections.abc import Mapping
from typing import Any

from clozekit.model.training.cluster.worker_addresses import ClusterSpec, whole_number
from clozekit.model.training.settings.loop_settings import ClusterSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.yaml_values import shown


def _cluster_and_task(name: str, text: str) -> tuple[dict[str, list[str]], str, int]:
    """Task type -> addresses, type of this task, its index among its type."""
    try:
        fields: Any = json.loads(text)
        cluster, task = fields.get("cluster", {}), fields.get("task", {})
        groups = {str(kind): [str(address) for address in addresses] for kind, addresses in cluster.items()}
        kind, index = str(task.get("type", "")), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f'{name} must be JSON like {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker",'
            f' "index": 0}}}}, it is {shown(text)}; correct it or unset it'
        ) from error
    return groups, kind, index


def _flat(source: str, groups: dict[str, list[str]], order: tuple[str, ...], kind: str, index: int) -> ClusterSpec:
    """The workers of the task types `order`, one after another."""
    members = [(group, address) for group in order for address in groups.get(group, [])]
    if len(members) < 2 and sum(map(len, groups.values())) < 2:
        return ClusterSpec(source)
    if kind not in order:
        raise InputError(
            f"a worker must be of the type {' or '.join(order)}, {source} says this one is a {kind or 'task of no type'}:"
            " there are no parameter servers or evaluators here; start the command on the workers alone"
        )
    if not 0 <= index < len(groups.get(kind, [])):
        raise InputError(
            f"the index of a task must be below their number, {source} says {kind} {index} of"
            f" {len(groups.get(kind, []))}; correct it"
        )
    before = order[: order.index(kind)]
    place = sum(len(groups.get(group, [])) for group in before) + index
    addresses = tuple(address for _, address in members)
    return ClusterSpec(source, addresses, place) if len(addresses) > 1 else ClusterSpec(source)


def tf_config_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec | None:
    """TF_CONFIG, the chief first. config: not needed."""
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return None
    groups, kind, index = _cluster_and_task("TF_CONFIG", text)
    order = ("chief", "master", "worker")
    return _flat("TF_CONFIG", groups, order, kind, index) if groups else None


def vertex_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec | None:
    """Vertex AI's CLUSTER_SPEC: pool 0 holds the primary replica, pool 1 the workers. config: not needed."""
    text = environment.get("CLUSTER_SPEC", "").strip()
    if not text:
        return None
    groups, kind, index = _cluster_and_task("CLUSTER_SPEC", text)
    return _flat("Vertex AI", groups, ("workerpool0", "workerpool1"), kind, index)


def tpu_cluster(environment: Mapping[str, str], config: ClusterSettings) -> ClusterSpec | None:
    """The TPU named by TPU_NAME, or this host's own where Kubernetes lists the hosts of a slice. config: not needed."""
    name = environment.get("TPU_NAME", "").strip()
    hosts = [host for host in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if host.strip()]
    if not name and not hosts:
        return None
    index = whole_number("TPU_WORKER_ID", environment.get("TPU_WORKER_ID", "0"))
    if len(hosts) > 1 and (not name or name == "local"):
        raise InputError(
            f"TPUStrategy drives a slice of several hosts from one process by its name, TPU_WORKER_HOSTNAMES lists"
            f" {len(hosts)} hosts and TPU_NAME is {name!r}; set TPU_NAME to the slice's name or use a slice of one host"
        )
    if index:
        raise InputError(
            f"TPUStrategy runs in one process on the first host of a slice, TPU_WORKER_ID is {index}; start the command"
            " on host 0 alone"
        )
    return ClusterSpec("the TPU host", tpu=name or "local")
