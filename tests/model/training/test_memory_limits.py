"""Models, batches and clusters out of all proportion are refused with the numbers, before anything is allocated."""

from typing import Any

import pytest

from clozekit.model.training import memory_limits
from clozekit.model.training.architecture import from_scratch
from clozekit.model.training.cluster.kubernetes import indexed_job_cluster
from clozekit.model.training.cluster.slurm_cluster import expand_nodelist, expand_tasks_per_node
from clozekit.model.training.memory_limits import check_run_fits
from clozekit.model.training.settings.loop_settings import ClusterSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.stages import stages_of
from clozekit.tokenizers.common.errors import InputError


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("machine_bytes", "device_bytes"):
        monkeypatch.setattr(memory_limits, name, lambda: 16 * 10**9)


def fits(tmp_path: Any, *changes: str) -> None:
    (tmp_path / "x.yaml").write_text("dataset: d\ndirectory: r\n", encoding="utf-8")
    config = load_config(tmp_path / "x.yaml", changes)
    check_run_fits(config, from_scratch(config.model, 30_522, 512).backbone, 512, stages_of(config), 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("model.preset=bert_large_en", "train.micro_batch_size=8"),
        ("model.family=albert", "model.num_layers=100", "train.global_batch_size=8"),
        ("masking.num_slots=512", "train.global_batch_size=16"),
        ("train.global_batch_size=8192", "train.micro_batch_size=32"),
    ],
)
def test_a_model_that_is_trained_fits_into_memory(changes: tuple[str, ...], tmp_path: Any) -> None:
    fits(tmp_path, *changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["masking.num_slots=100000000"], "masking.num_slots must be at most the tokens of a row, got 100000000 for rows"),
        (["masking.num_slots=513"], "got 513 for rows of 512"),
        (["train.global_batch_size=100000000"], "100,000,000 rows of 512 tokens need at least 1,024.0 GB, there are 16.0 GB"),
        (["train.global_batch_size=30000"], "a step must fit into memory: 30,000 rows of 512 tokens at once need at least"),
        (["model.num_layers=1000000"], "a model must fit into memory: its weights, gradients and the optimizer's state need"),
        (["model.hidden_dim=1000000"], "a model must fit into memory"),
        (["model.intermediate_dim=1000000000"], "a model must fit into memory"),
        (["model.vocabulary_multiple=1000000000"], "a model must fit into memory"),
        (["model.family=albert", "model.embedding_dim=1000000"], "a model must fit into memory"),
        (["model.family=albert", "model.num_inner_repetitions=1000000"], "a model must fit into memory"),
        (["model.num_heads=1000000", "model.hidden_dim=1000000"], "a model must fit into memory"),
        (["train.steps=2147483648"], "train.steps must be below 2**31"),
        (["train.batch_ramp={first_batch_size: 1, steps: 1000000, num_sizes: 1000000}"], "num_sizes must be from 1 to 256"),
        (["cluster.num_cpu_devices=1000000"], "cluster.num_cpu_devices must be from 1 to 256"),
        (["cluster.num_workers=1000000"], "cluster.num_workers must be at most 10,000"),
    ],
)  # fmt: skip
def test_a_model_that_no_machine_holds_is_refused(changes: list[str], message: str, tmp_path: Any) -> None:
    with pytest.raises(InputError) as caught:
        fits(tmp_path, *changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "nodes",
    ["n[3-1]", "n[1-10000000000]", "n[1-1000000000]", "n[1-200][1-200]", "n[1-" + "9" * 5000 + "]", "n[1-6000],m[1-6000]",
     "n[]", "n[1-", "n[[1]]", "", ",", "a,,b", "n[1-1]" * 3000, "n[-1]", "n[a]", "n]1["],
)  # fmt: skip
def test_node_lists_that_name_no_nodes_are_refused(nodes: str) -> None:
    with pytest.raises(InputError, match="a Slurm node list must look like") as caught:
        expand_nodelist(nodes)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("tasks", ["2(x1000000000)", "1(x9999),1(x9999)", "9" * 5000, "", "2(x)", "-1", "2(x3"])
def test_tasks_that_no_cluster_has_are_refused(tasks: str) -> None:
    with pytest.raises(InputError, match="Slurm's tasks per node must look like") as caught:
        expand_tasks_per_node(tasks)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("count", ["1000000000", "9" * 5000, "-1", "0", "x"])
def test_more_workers_than_any_cluster_has_are_refused(count: str) -> None:
    with pytest.raises(InputError, match="CLOZEKIT_NUM_WORKERS must be a whole number from 1 to 10,000"):
        indexed_job_cluster({"JOB_COMPLETION_INDEX": "0", "CLOZEKIT_NUM_WORKERS": count}, ClusterSettings())
