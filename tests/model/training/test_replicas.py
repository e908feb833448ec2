"""One step is one step: on 1, 2 or (long variant) 4 replicas, in 1 or 2 processes, as N micro-batches or one batch."""

import json
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pods
import pytest
from helper_folder import HELPERS
from long_variants import FULL
from processes import finished, free_ports, started

SCRIPT = HELPERS / "replica_runs.py"
# Adafactor's moments are of other shapes than the variable. Muon, whose updates are of whole matrices, learns the pairs below.
NEWER = ("adafactor", "lion", "muon", "stable_adamw") if FULL else ()
# What blocks make anew for the backward pass is the same too.
HALVES = {"micro_batch_size": 2, "recompute": True}
RELATIVE = {"family": "deberta_v3", "micro_batch_size": 2, "dropout": 0.2}
APART = {**RELATIVE, "disentangled": True}
# Name -> what is trained on one replica, and on two.
BOTH: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"ema_decay": 0.5}, {"ema_decay": 0.5}),
    "dropped": (
        {"ema_decay": 0.5, "micro_batch_size": 2, "dropout": 0.2},
        {"ema_decay": 0.5, "dropout": 0.2, **HALVES},
    ),
    "own": ({"own": True}, {"own": True}),
    "teacher": ({"teacher": True}, {"teacher": True, **HALVES}),
    "pairs": (
        {"objective": "pairs", "optimizer": "muon"},
        {"objective": "pairs", "optimizer": "muon", "micro_batch_size": 2},
    ),
    "replaced": (
        {"objective": "replaced", "family": "electra"},
        {"objective": "replaced", "family": "electra", **HALVES},
    ),
    # Both halves have positions of their own, and share the table of tokens, or have one each.
    **(
        {
            "replaced_relative": ({"objective": "replaced", **RELATIVE}, {"objective": "replaced", **RELATIVE}),
            "replaced_apart": ({"objective": "replaced", **APART}, {"objective": "replaced", **APART}),
        }
        if FULL
        else {}
    ),
    **{name: ({"optimizer": name}, {"optimizer": name, "micro_batch_size": 2}) for name in NEWER},
    # Its blocks share a table of positions, which each of them drops values of.
    "relative": (RELATIVE, RELATIVE),
}
# Number of replicas -> what is trained on them.
SETTINGS = {1: {name: one for name, (one, _) in BOTH.items()}, 2: {name: two for name, (_, two) in BOTH.items()}}
if FULL:
    SETTINGS[2]["compiled"] = {"ema_decay": 0.5, "micro_batch_size": 1, "xla": True}
    SETTINGS[4] = {"plain": {"ema_decay": 0.5}, "dropped": {"ema_decay": 0.5, "dropout": 0.2}}
# "sound" or "overflow" -> name -> value.
Results = dict[str, dict[str, np.ndarray]]


def loaded(path: Path) -> list[Results]:
    with np.load(path) as file:
        results: dict[int, Results] = {}
        for key in file.files:
            number, kind, name = key.split("/")
            results.setdefault(int(number), {}).setdefault(kind, {})[name] = file[key]
    return [results[number] for number in range(len(results))]


def assert_same_training(result: Results, expected: Results) -> None:
    for kind in ("sound", "overflow"):
        got, wanted = result[kind], expected[kind]
        assert got.keys() == wanted.keys()
        for name in ("tokens", "places", "skipped", "updates", "count", "correct", "second_count", "second_positive"):
            assert got[name] == wanted[name], name
        for name in wanted:
            np.testing.assert_allclose(got[name], wanted[name], rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Results]]:
    """Number of replicas -> name -> the results of what was trained so."""
    directory = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                started(
                    str(SCRIPT), str(directory / f"{replicas}.npz"), str(replicas), json.dumps([*settings.values()])
                )
            )
            for replicas, settings in SETTINGS.items()
        ]
        finished(*processes)
    return {
        replicas: dict(zip(settings, loaded(directory / f"{replicas}.npz"), strict=True))
        for replicas, settings in SETTINGS.items()
    }


def moved(trained: dict[int, dict[str, Results]], name: str) -> float:
    """How far what is named brought a weight of the embeddings from where plain training brings it."""
    return float(np.abs(trained[1][name]["sound"]["w00"] - trained[1]["plain"]["sound"]["w00"]).max())


@pytest.mark.parametrize("replicas", [number for number in SETTINGS if number > 1])
def test_replicas_train_as_one(trained: dict[int, dict[str, Results]], replicas: int) -> None:
    assert_same_training(trained[replicas]["plain"], trained[1]["plain"])


@pytest.mark.parametrize("replicas", SETTINGS)
def test_an_overflow_on_one_replica_skips_the_step_on_all(
    trained: dict[int, dict[str, Results]], replicas: int
) -> None:
    sound, result = trained[replicas]["plain"]["sound"], trained[replicas]["plain"]["overflow"]
    assert (sound["skipped"], sound["updates"]) == (0, 10)
    assert (result["skipped"], result["updates"]) == (1, 9)
    assert all(np.isfinite(value).all() for value in result.values())


def test_micro_batches_drop_the_same_units_wherever_they_are(trained: dict[int, dict[str, Results]]) -> None:
    """Four micro-batches on one replica, two on each of two, one on each of four (CLOZEKIT_FULL=1)."""
    assert moved(trained, "dropped") > 1e-3
    for replicas in SETTINGS:
        assert_same_training(trained[replicas]["dropped"], trained[1]["dropped"])


def test_an_optimizer_a_schedule_and_an_objective_of_ones_own_train_on_replicas_as_on_one(
    trained: dict[int, dict[str, Results]],
) -> None:
    assert moved(trained, "own") > 1e-3
    assert_same_training(trained[2]["own"], trained[1]["own"])


def test_a_student_learns_from_its_teacher_on_replicas_and_micro_batches_as_on_one(
    trained: dict[int, dict[str, Results]],
) -> None:
    assert moved(trained, "teacher") > 1e-3
    assert trained[1]["teacher"]["sound"]["distillation"] > 0 == trained[1]["plain"]["sound"]["distillation"]
    assert_same_training(trained[2]["teacher"], trained[1]["teacher"])


def test_masked_tokens_and_pairs_are_learned_by_muon_on_replicas_and_micro_batches_as_on_one(
    trained: dict[int, dict[str, Results]],
) -> None:
    assert trained[1]["pairs"]["sound"]["second_count"] > 20
    # Muon has no second moments of kernels, so there are fewer although the pooler is trained too.
    assert trained[1]["pairs"]["sound"]["second_moments"] < trained[1]["plain"]["sound"]["second_moments"]
    assert_same_training(trained[2]["pairs"], trained[1]["pairs"])


@pytest.mark.parametrize("name", [name for name in BOTH if name.startswith("replaced")])
def test_replaced_tokens_are_detected_on_replicas_and_micro_batches_as_on_one(
    name: str, trained: dict[int, dict[str, Results]]
) -> None:
    assert trained[1][name]["sound"]["second_positive"] > 20
    assert_same_training(trained[2][name], trained[1][name])


@pytest.mark.parametrize("optimizer", NEWER)
def test_every_optimizer_trains_on_replicas_and_micro_batches_as_on_one(
    optimizer: str, trained: dict[int, dict[str, Results]]
) -> None:
    results, plain = trained[1][optimizer]["sound"], trained[1]["plain"]["sound"]
    weights = [name for name in plain if name.startswith("w")]
    assert max(np.abs(results[name] - plain[name]).max() for name in weights) > 1e-3
    assert_same_training(trained[2][optimizer], trained[1][optimizer])


def test_relative_positions_are_learned_on_replicas_and_micro_batches_as_on_one(
    trained: dict[int, dict[str, Results]],
) -> None:
    assert trained[1]["relative"]["sound"].keys() != trained[1]["plain"]["sound"].keys()
    assert_same_training(trained[2]["relative"], trained[1]["relative"])


@pytest.mark.skipif(not FULL, reason="compiles for half a minute; CLOZEKIT_FULL=1 runs it")
def test_compiled_micro_batches_on_replicas_train_as_one(trained: dict[int, dict[str, Results]]) -> None:
    assert_same_training(trained[2]["compiled"], trained[1]["plain"])


def tf_config(ports: list[int], index: int) -> dict[str, str]:
    cluster = {"chief": [f"127.0.0.1:{ports[0]}"], "worker": [f"127.0.0.1:{ports[1]}"]}
    task = {"type": ("chief", "worker")[index], "index": 0}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def slurm(ports: list[int], index: int) -> dict[str, str]:
    """Two tasks on one node; the job's number decides the ports, so it is chosen until they are free."""
    return {
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_PROCID": str(index),
        "SLURM_JOB_ID": str(ports[0]),
        "SLURMD_NODENAME": "localhost",
    }


def free_slurm_job() -> int:
    """A job number whose first two ports are free."""
    for job in range(780):
        with ExitStack() as stack:
            try:
                for local in range(2):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", 20_000 + job * 16 + local))
            except OSError:
                continue
            return job
    raise AssertionError("no free ports")


def vertex(ports: list[int], index: int) -> dict[str, str]:
    pools = {f"workerpool{number}": [f"127.0.0.1:{port}"] for number, port in enumerate(ports)}
    spec = {"cluster": pools, "environment": "cloud", "task": {"type": f"workerpool{index}", "index": 0, "trial": "0"}}
    return {"CLUSTER_SPEC": json.dumps(spec), **tf_config(ports, index)}


def jobset(_: list[int], index: int) -> dict[str, str]:
    return {
        "JOBSET_NAME": "bert",
        "REPLICATED_JOB_NAME": "workers",
        "JOB_COMPLETION_INDEX": str(index),
        "HOSTNAME": f"bert-workers-0-{index}",
        "CLOZEKIT_NUM_WORKERS": "2",
    }


def indexed_job(_: list[int], index: int) -> dict[str, str]:
    return {
        "JOB_COMPLETION_INDEX": str(index),
        "HOSTNAME": f"pretrain-{index}",
        "CLOZEKIT_NUM_WORKERS": "2",
        "CLOZEKIT_SUBDOMAIN": "pretrain",
    }


VARIABLES = {"tf_config": tf_config, "slurm": slurm, "vertex": vertex, "jobset": jobset, "indexed_job": indexed_job}
# The names of Kubernetes' pods, which have an address each and listen on one port.
PODS = {
    "jobset": ("bert-workers-0-0.bert", "bert-workers-0-1.bert"),
    "indexed_job": ("pretrain-0.pretrain", "pretrain-1.pretrain"),
}
# By default two processes train in test_kills.py (TF_CONFIG) and under a real Slurm in tests/deploy/submit/test_slurm_jobs.py.
SOURCES = list(VARIABLES) if FULL else []


@pytest.mark.parametrize("source", SOURCES)
def test_two_processes_train_as_one(source: str, trained: dict[int, dict[str, Results]], tmp_path: Path) -> None:
    why = pods.missing() if source in PODS else None
    if why is not None:
        pytest.skip(why)
    plain = json.dumps([SETTINGS[1]["plain"]])
    ports = [free_slurm_job()] if source == "slurm" else free_ports(2)
    files = [tmp_path / f"{index}.npz" for index in range(2)]
    with ExitStack() as stack:
        inside: list[list[str]] = [[], []]
        if source in PODS:
            inside = stack.enter_context(pods.two_pods(PODS[source], tmp_path))
        processes = [
            stack.enter_context(
                started(str(SCRIPT), str(file), "1", plain, inside=inside[index], **VARIABLES[source](ports, index))
            )
            for index, file in enumerate(files)
        ]
        finished(*processes)
    for file in files:
        assert_same_training(loaded(file)[0], trained[1]["plain"])
    # Both workers hold the very same weights.
    first, second = (loaded(file)[0]["sound"] for file in files)
    assert all((first[name] == second[name]).all() for name in first)
