"""Clusters from recorded environments: the resolvers, the choice among them, contradictions, the strategy."""

import json

import pytest

from clozekit.model.training.cluster.find_cluster import choose_strategy, resolve_cluster
from clozekit.model.training.cluster.slurm_cluster import expand_nodelist, expand_tasks_per_node
from clozekit.model.training.cluster.worker_addresses import ClusterSpec
from clozekit.model.training.settings.loop_settings import ClusterSettings
from clozekit.tokenizers.common.errors import InputError

TWO = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}})
# What Vertex AI sets for a custom job of one primary and two workers, here on the second worker.
POOLS = {"workerpool0": ["cmle-0:2222"], "workerpool1": ["cmle-1:2222", "cmle-2:2222"]}
VERTEX = {
    "CLUSTER_SPEC": json.dumps(
        {"cluster": POOLS, "environment": "cloud", "task": {"type": "workerpool1", "index": 1, "trial": "0"}}
    ),
    "TF_CONFIG": json.dumps(
        {
            "cluster": {"chief": POOLS["workerpool0"], "worker": POOLS["workerpool1"]},
            "environment": "cloud",
            "task": {"type": "worker", "index": 1},
        }
    ),
    "AIP_MODEL_DIR": "gs://bucket/model/",
    "CLOUD_ML_JOB_ID": "123",
}
# srun on three nodes, four tasks.
SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_JOB_NODELIST": "n[1-3,7]",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "n[1-2,7]",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2),2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURMD_NODENAME": "n7",
}
INDEXED_JOB = {
    "JOB_COMPLETION_INDEX": "1",
    "HOSTNAME": "pretrain-1",
    "CLOZEKIT_NUM_WORKERS": "2",
    "CLOZEKIT_SUBDOMAIN": "pretrain",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
}
JOBSET = {
    "JOBSET_NAME": "bert",
    "REPLICATED_JOB_NAME": "workers",
    "REPLICATED_JOB_REPLICAS": "2",
    "JOB_INDEX": "1",
    "JOB_COMPLETION_INDEX": "0",
    "HOSTNAME": "bert-workers-1-0",
    "CLOZEKIT_NUM_WORKERS": "4",
}
JOBSET_ADDRESSES = tuple(f"bert-workers-{job}-{pod}.bert:2222" for job in (0, 1) for pod in (0, 1))


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in names}


@pytest.mark.parametrize(
    ("environment", "config", "expected"),
    [
        ({"PATH": "/bin", "TF_CONFIG": " "}, ClusterSettings(), ClusterSpec()),
        ({"TF_CONFIG": "{}"}, ClusterSettings(), ClusterSpec()),
        ({"TF_CONFIG": TWO}, ClusterSettings(), ClusterSpec("TF_CONFIG", ("a:1", "b:1"), 1)),
        ({"TF_CONFIG": TWO}, ClusterSettings(environment="none"), ClusterSpec()),
        (
            {"TF_CONFIG": TWO, **SLURM},
            ClusterSettings(environment="tf_config"),
            ClusterSpec("TF_CONFIG", ("a:1", "b:1"), 1),
        ),
        (VERTEX, ClusterSettings(), ClusterSpec("Vertex AI", ("cmle-0:2222", "cmle-1:2222", "cmle-2:2222"), 2)),
        (
            {
                "CLUSTER_SPEC": json.dumps(
                    {"cluster": {"workerpool0": ["localhost:2222"]}, "task": {"type": "workerpool0", "index": 0}}
                )
            },
            ClusterSettings(),
            ClusterSpec("Vertex AI"),
        ),
        (SLURM, ClusterSettings(), ClusterSpec("Slurm", ("n1:27264", "n2:27264", "n7:27264", "n7:27265"), 3)),
        (SLURM, ClusterSettings(port=5000), ClusterSpec("Slurm", ("n1:5000", "n2:5000", "n7:5000", "n7:5001"), 3)),
        # A batch script that runs the command without srun is one process.
        (without(SLURM, "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS"), ClusterSettings(), ClusterSpec()),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, ClusterSettings(), ClusterSpec("Slurm")),
        (
            INDEXED_JOB,
            ClusterSettings(),
            ClusterSpec("the Indexed Job", ("pretrain-0.pretrain:2222", "pretrain-1.pretrain:2222"), 1),
        ),
        (
            {"JOB_COMPLETION_INDEX": "0", "HOSTNAME": "job-0"},
            ClusterSettings(num_workers=1),
            ClusterSpec("the Indexed Job"),
        ),
        (JOBSET, ClusterSettings(), ClusterSpec("the JobSet", JOBSET_ADDRESSES, 2)),
        (
            {**JOBSET, "CLOZEKIT_SUBDOMAIN": "net"},
            ClusterSettings(port=99),
            ClusterSpec("the JobSet", tuple(a.replace(".bert:2222", ".net:99") for a in JOBSET_ADDRESSES), 2),
        ),
        ({"TPU_NAME": "local"}, ClusterSettings(), ClusterSpec("the TPU host", tpu="local")),
        ({"TPU_NAME": "my-v4"}, ClusterSettings(), ClusterSpec("the TPU host", tpu="my-v4")),
        (
            {"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost", "JOB_COMPLETION_INDEX": "0", "HOSTNAME": "a-0"},
            ClusterSettings(num_workers=1),
            ClusterSpec("the TPU host", tpu="local"),
        ),
    ],
)
def test_the_cluster_of_an_environment(
    environment: dict[str, str], config: ClusterSettings, expected: ClusterSpec
) -> None:
    assert resolve_cluster(environment, config) == expected


def ps(kind: str) -> dict[str, str]:
    cluster = {"worker": ["a:1", "b:1"], "ps": ["c:1"]}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}})}


@pytest.mark.parametrize(
    ("environment", "config", "message"),
    [
        ({"TF_CONFIG": "{cluster"}, ClusterSettings(), r'TF_CONFIG must be JSON like \{"cluster"'),
        ({"TF_CONFIG": TWO.replace('"index": 1', '"index": 2')}, ClusterSettings(), "says worker 2 of 2"),
        (
            {"TF_CONFIG": TWO.replace("b:1", "a:1")},
            ClusterSettings(),
            "must have its own address, TF_CONFIG gives a:1, a:1",
        ),
        (ps("ps"), ClusterSettings(), "TF_CONFIG says this one is a ps"),
        ({"TF_CONFIG": TWO}, ClusterSettings(num_workers=4), "got 4 and TF_CONFIG says worker 1 of 2"),
        ({"TF_CONFIG": TWO, **SLURM}, ClusterSettings(), "TF_CONFIG says worker 1 of 2 and Slurm says worker 3 of 4"),
        ({}, ClusterSettings(environment="slurm"), "it is slurm and no variable of slurm is set"),
        ({}, ClusterSettings(num_workers=2), "got 2 and no cluster says worker 0 of 1"),
        (without(SLURM, "SLURM_PROCID"), ClusterSettings(), "SLURM_PROCID is not set here"),
        (
            {**SLURM, "SLURM_PROCID": "x"},
            ClusterSettings(),
            "SLURM_PROCID must be a whole number of at least 0, it is 'x'",
        ),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "5"}, ClusterSettings(), r"3 nodes, tasks \[1, 1, 2\] on them and 5 tasks"),
        ({**SLURM, "SLURMD_NODENAME": "n2"}, ClusterSettings(), "task 3 runs on n2 and not on n7"),
        (without(INDEXED_JOB, "CLOZEKIT_NUM_WORKERS"), ClusterSettings(), "set CLOZEKIT_NUM_WORKERS in the manifest"),
        (without(INDEXED_JOB, "CLOZEKIT_SUBDOMAIN"), ClusterSettings(), "set CLOZEKIT_SUBDOMAIN to its name"),
        ({**INDEXED_JOB, "HOSTNAME": "pretrain-2"}, ClusterSettings(), "must end with -1, it is 'pretrain-2'"),
        ({**INDEXED_JOB, "JOB_COMPLETION_INDEX": "2", "HOSTNAME": "p-2"}, ClusterSettings(), "says worker 2 of 2"),
        ({**JOBSET, "HOSTNAME": "bert-workers-0-0"}, ClusterSettings(), "must be called bert-workers-1-0"),
        ({**JOBSET, "CLOZEKIT_NUM_WORKERS": "3"}, ClusterSettings(), "got 3 workers and 2 jobs"),
        ({**JOBSET, "JOB_COMPLETION_INDEX": "2"}, ClusterSettings(), "says pod 2 of 2 in job 1 of 2"),
        (without(JOBSET, "REPLICATED_JOB_NAME"), ClusterSettings(), "REPLICATED_JOB_NAME not set"),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}, ClusterSettings(), "lists 2 hosts and TPU_NAME is ''"),
        ({"TPU_NAME": "v4", "TPU_WORKER_ID": "1"}, ClusterSettings(), "TPU_WORKER_ID is 1"),
        (
            {"TPU_NAME": "local", "TF_CONFIG": TWO},
            ClusterSettings(),
            "TF_CONFIG says worker 1 of 2 and the TPU host says",
        ),
    ],
)
def test_a_contradiction_is_refused_in_one_line(
    environment: dict[str, str], config: ClusterSettings, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve_cluster(environment, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3,7]", ["n1", "n2", "n3", "n7"]),
        ("a,b[2-3],c", ["a", "b2", "b3", "c"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("r[1-2]n[1,3]-ib", ["r1n1-ib", "r1n3-ib", "r2n1-ib", "r2n3-ib"]),
        ("gpu-a-1.site,gpu-b", ["gpu-a-1.site", "gpu-b"]),
    ],
)
def test_slurm_node_lists(nodelist: str, names: list[str]) -> None:
    assert expand_nodelist(nodelist) == names


@pytest.mark.parametrize("nodelist", ["", "n[1-", "n1-3]", "n[a-b]", "n[1,]", "a,,b"])
def test_a_broken_node_list_is_refused(nodelist: str) -> None:
    with pytest.raises(InputError, match="must look like"):
        expand_nodelist(nodelist)


def test_slurm_tasks_per_node() -> None:
    assert expand_tasks_per_node("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(InputError, match="got '2x3'"):
        expand_tasks_per_node("2x3")


TWO_WORKERS = ClusterSpec("TF_CONFIG", ("a:1", "b:1"))


@pytest.mark.parametrize(
    ("spec", "config", "num_gpus", "expected"),
    [
        (ClusterSpec(), ClusterSettings(), 0, "one_device"),
        (ClusterSpec(), ClusterSettings(), 1, "one_device"),
        (ClusterSpec(), ClusterSettings(), 8, "mirrored"),
        (ClusterSpec(), ClusterSettings(num_cpu_devices=2), 0, "mirrored"),
        (ClusterSpec(), ClusterSettings(strategy="one_device"), 8, "one_device"),
        (ClusterSpec(), ClusterSettings(strategy="multi_worker"), 0, "multi_worker"),
        (ClusterSpec(tpu="local"), ClusterSettings(), 0, "tpu"),
        (ClusterSpec(tpu="local"), ClusterSettings(strategy="one_device"), 0, "one_device"),
        (TWO_WORKERS, ClusterSettings(), 8, "multi_worker"),
    ],
)
def test_the_strategy_fits_the_machine(
    spec: ClusterSpec, config: ClusterSettings, num_gpus: int, expected: str
) -> None:
    assert choose_strategy(spec, config, num_gpus) == expected


@pytest.mark.parametrize(
    ("spec", "config", "num_gpus", "message"),
    [
        (TWO_WORKERS, ClusterSettings(strategy="mirrored"), 2, "got mirrored and TF_CONFIG says worker 0 of 2"),
        (TWO_WORKERS, ClusterSettings(num_cpu_devices=2), 0, "must be 1 under multi_worker"),
        (ClusterSpec(), ClusterSettings(num_cpu_devices=2), 2, "must be 1 on a machine with GPUs, got 2 and 2"),
    ],
)
def test_a_strategy_that_can_not_be_had_is_refused(
    spec: ClusterSpec, config: ClusterSettings, num_gpus: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose_strategy(spec, config, num_gpus)


def test_without_a_tpu_the_tpu_strategy_is_refused_in_one_line() -> None:
    from clozekit.model.training.cluster.workers import start_workers

    with pytest.raises(InputError, match="needs a TPU that TensorFlow can reach, 'local' is none") as caught:
        start_workers(ClusterSettings(strategy="tpu"), {})
    assert "\n" not in str(caught.value)
