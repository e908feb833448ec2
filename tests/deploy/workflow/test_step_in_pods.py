"""A step that trains in a pod of GKE, by a stand-in of the cluster that runs what it is sent; leader and pod are killed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from grammar import sentences
from pod_cluster import PodCluster, write_kubeconfig
from processes import TIMEOUT_SECONDS, Child, started
from stand_in import StandIn

from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

pytestmark = pytest.mark.slow
RECIPE = """\
output: {folder}/out
steps:
  data:
    prepare:
      tokenizer: {folder}/tokenizer
      read: {{inputs: [{folder}/docs.txt], document_kind: line}}
      rows: {{sequence_length: 32, validation_rate: 0.2}}
  model:
    where: {{platform: gke, image: i, machine: n2-standard-4, kubernetes: {{volumes: {{shared: "{folder}"}}}}}}
    train:
      dataset: ${{data.output}}
      model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32}}
      train: {{steps: 200, global_batch_size: 8, xla: false, steps_per_loop: 2}}
      checkpoint: {{every_steps: 10}}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[PodCluster]:
    (tmp_path / "pods").mkdir()
    cluster = PodCluster(tmp_path / "pods")
    with contextlib.closing(cluster), StandIn(cluster.answer) as server:
        write_kubeconfig(tmp_path / "kubeconfig", server.url)
        yield cluster


def wait_for(condition: Callable[[], bool], leader: Child, folder: Path) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        said = leader.output() + "".join(path.read_text() for path in folder.glob("out/steps/*/log.txt"))
        assert leader.process.poll() is None and time.monotonic() < end, said
        time.sleep(0.05)


def test_the_next_leader_finds_the_job_of_one_that_was_killed_and_its_pod_goes_on(
    cluster: PodCluster, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "docs.txt").write_text("".join(f"{text}\n" for number in range(60) for text in sentences(number, 4)))
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(folder=tmp_path))
    arguments = ("-m", "clozekit.deploy.cli", "run", str(tmp_path / "recipe.yaml"))
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    with started(*arguments, **environment) as leader:
        wait_for(lambda: any(tmp_path.glob("out/steps/model-*/run/checkpoints/*/state.json")), leader, tmp_path)
        leader.kill()
    ((name, pods),) = cluster.pods.items()
    # The node is gone: the cluster begins the pod again, wherever the leader is.
    pods[-1].kill()
    pods[-1].wait()
    with started(*arguments, **environment) as leader:
        assert leader.ended() == 0, leader.output() + (tmp_path / "pods" / f"{name}.log").read_text()
        assert "data (prepare): skipped" in leader.output()
    assert list(cluster.pods) == [name] and len(pods) == 2
    (log,) = tmp_path.glob("out/steps/model-*/log.txt")
    assert "already submitted" in log.read_text() and "going on from step" in log.read_text()
    (preset,) = tmp_path.glob("out/steps/model-*/run/preset/config.json")
    assert preset.is_file()
