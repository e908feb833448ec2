"""A real Spark cluster, by `clozekit submit spark`: the dataset of this process, whatever is killed on the way."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from flink_cluster import WorkerPools
from long_variants import FULL
from processes import free_ports
from spark_cluster import SparkCluster, spark_cluster

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import submit_job
from clozekit.pipelines.dataset.manifest import read_manifest

Words = Callable[[str], list[str]]
_WAIT_SECONDS = 300


@pytest.fixture(scope="module")
def spark(
    spark_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SparkCluster, dict[str, object]]]:
    """A master with two workers, and the job that leads to it."""
    folder = tmp_path_factory.mktemp("spark")
    pools = WorkerPools(folder, 2)
    try:
        with spark_cluster(spark_jars, folder) as (cluster, endpoint):
            yield cluster, {"name": "docs", "spark": {"job_endpoint": endpoint, "environment": pools.address}}
    finally:
        pools.close()


@pytest.fixture
def spec(spark: tuple[SparkCluster, dict[str, object]], tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(spark[1]), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_job, "POLL_SECONDS", 0.2)


def test_a_job_that_is_waited_for_ends_with_the_same_dataset(
    words: Words,
    dataset_sha256: str,
    spark: tuple[SparkCluster, dict[str, object]],
    spec: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = words("waited for")
    assert main(["submit", "spark", str(spec), "--wait", "--", *place]) == 0
    assert "submitted\njob    docs\n" in capsys.readouterr().err
    manifest = read_manifest(place[-1])
    assert (manifest.dataset_sha256, manifest.environment["runner"]) == (dataset_sha256, "SparkRunner")
    (application,) = spark[0].asked()["completedapps"]
    assert (application["state"], application["cores"]) == ("FINISHED", 2)
    # Sent again it is found.
    assert main(["submit", "spark", str(spec), "--", *place]) == 0
    assert "already submitted, nothing is sent" in capsys.readouterr().err
    assert main(["submit", "status", "spark", str(spec), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["phase"], found["detail"]) == ("succeeded", "DONE")


@pytest.mark.skipif(not FULL, reason="Spark tries it again and again, a minute; CLOZEKIT_FULL=1 runs it")
def test_bad_input_fails_the_job_in_one_line(
    spec: Path, tokenizer_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "the cat"}\n{cut\n', encoding="utf-8")
    place = ["--input", str(path), "--tokenizer", tokenizer_directory, "--output", str(tmp_path / "out")]
    assert main(["submit", "spark", str(spec), "name=bad", "--wait", "--", "prepare", *place]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        "clozekit submit: bad has failed: FAILED: at most 0 of all records may be bad (--max-bad-rate)"
    )


def test_a_job_that_is_stopped_is_cancelled(words: Words, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "spark", str(spec), "name=stopped", "--", *words("stopped")]) == 0
    assert main(["submit", "cancel", "spark", str(spec), "name=stopped"]) == 0
    assert main(["submit", "status", "spark", str(spec), "name=stopped", "--wait"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("clozekit submit: stopped has cancelled: CANCELLED")


def test_a_server_that_does_not_answer_is_one_line(
    words: Words, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    change = f"spark.job_endpoint=localhost:{port}"
    assert main(["submit", "spark", str(spec), change, "--", *words("lost")]) == 69
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("clozekit submit: Beam's job server must answer")


@pytest.mark.skipif(not FULL, reason="another minute; CLOZEKIT_FULL=1 runs it")
def test_a_killed_worker_changes_nothing(
    words: Words, dataset_sha256: str, spark: tuple[SparkCluster, dict[str, object]], spec: Path
) -> None:
    """The worker and the executor that it started, in the middle of the job."""
    cluster, place = spark[0], words("worker killed")
    before, stages = len(cluster.asked()["completedapps"]), cluster.num_finished_stages()
    killed = threading.Event()

    def kill() -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline and len(cluster.asked()["completedapps"]) == before:
            if cluster.num_finished_stages() >= stages + 3:
                cluster.workers[0].kill()
                killed.set()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert main(["submit", "spark", str(spec), "name=killed", "--wait", "--", *place]) == 0
    thread.join()
    assert killed.is_set() and len(cluster.asked()["completedapps"]) == before + 1
    assert read_manifest(place[-1]).dataset_sha256 == dataset_sha256
    cluster.add_worker()
    cluster.wait_for_workers(2)
