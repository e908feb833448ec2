"""`clozekit prepare` and `clozekit submit flink` as commands, on a real Flink session cluster: the dataset of this process."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from flink_cluster import FlinkCluster, WorkerPools
from long_variants import FULL
from processes import free_ports, ran

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import submit_job
from clozekit.pipelines.dataset.manifest import read_manifest

Flink = tuple[FlinkCluster, WorkerPools]
Words = Callable[[str], list[str]]


@pytest.fixture
def spec(flink: Flink, flink_arguments: list[str], tmp_path: Path) -> Path:
    cluster, pools = flink
    endpoint = flink_arguments[0].partition("=")[2]
    path = tmp_path / "job.yaml"
    settings = {"rest_address": cluster.master, "job_endpoint": endpoint, "environment": pools.address}
    job = {"name": "docs", "num_workers": 2, "flink": settings}
    path.write_text(yaml.safe_dump(job), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_job, "POLL_SECONDS", 0.2)


def test_prepare_itself_gives_the_same_dataset(words: Words, dataset_sha256: str, flink_arguments: list[str]) -> None:
    place = words("by prepare")
    status, output = ran("-m", "clozekit.deploy.cli.main", *place, "--runner", "FlinkRunner", "--", *flink_arguments)
    assert status == 0, output
    manifest = read_manifest(place[-1])
    assert (manifest.dataset_sha256, manifest.environment["runner"]) == (dataset_sha256, "FlinkRunner")


def test_a_job_that_is_waited_for_ends_with_the_same_dataset(
    words: Words, dataset_sha256: str, flink: Flink, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, _ = flink
    place = words("waited for")
    assert main(["submit", "flink", str(spec), "--wait", "--", *place]) == 0
    told = capsys.readouterr()
    assert read_manifest(place[-1]).dataset_sha256 == dataset_sha256
    assert "submitted\njob    docs\n" in told.err and "docs has succeeded" in told.err
    assert "tasks have ended" in told.out
    # Sent again it is found.
    before = len(cluster.jobs())
    assert main(["submit", "flink", str(spec), "--", *place]) == 0
    assert "already submitted, nothing is sent" in capsys.readouterr().err and len(cluster.jobs()) == before
    assert main(["submit", "status", "flink", str(spec), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["phase"], found["detail"]) == ("succeeded", "FINISHED")
    assert found["look"].startswith(f"http://{cluster.master}/#/job/")


@pytest.mark.skipif(not FULL, reason="half a minute; CLOZEKIT_FULL=1 runs it")
def test_a_server_that_is_started_for_the_command_may_end_before_the_job(
    words: Words, dataset_sha256: str, flink: Flink, spec: Path, flink_job_server: Path
) -> None:
    place = words("left alone")
    changes = ["name=left-alone", "flink.job_endpoint=null", f"flink.job_server_jar={flink_job_server}"]
    status, output = ran("-m", "clozekit.deploy.cli.main", "submit", "flink", str(spec), *changes, "--", *place)
    assert status == 0, output
    assert main(["submit", "status", "flink", str(spec), *changes, "--wait"]) == 0
    assert main(place) == 0
    assert read_manifest(place[-1]).dataset_sha256 == dataset_sha256


def test_a_job_that_is_stopped_is_cancelled(
    words: Words, flink: Flink, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["name=stopped"]
    assert main(["submit", "flink", str(spec), *changes, "--", *words("stopped")]) == 0
    assert main(["submit", "cancel", "flink", str(spec), *changes]) == 0
    assert "told to stop: stopped" in capsys.readouterr().out
    assert main(["submit", "status", "flink", str(spec), *changes, "--wait"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("clozekit submit: stopped has cancelled: CANCEL")


@pytest.mark.skipif(not FULL, reason="Flink tries it ten times, half a minute; CLOZEKIT_FULL=1 runs it")
def test_bad_input_fails_the_job_in_one_line(
    spec: Path, tokenizer_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "the cat"}\n{cut\n', encoding="utf-8")
    place = ["--input", str(path), "--tokenizer", tokenizer_directory, "--output", str(tmp_path / "out")]
    assert main(["submit", "flink", str(spec), "name=bad", "--wait", "--", "prepare", *place]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        "clozekit submit: bad has failed: FAILED: at most 0 of all records may be bad (--max-bad-rate)"
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("rest_address", "Flink must answer at flink.rest_address"),
        ("job_endpoint", "Beam's job server must answer"),
    ],
)
def test_what_does_not_answer_is_one_line(
    key: str,
    message: str,
    words: Words,
    spec: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr("clozekit.deploy.submit.portable_jobs.SERVER_SECONDS", 1)
    changes = ["name=lost", f"flink.{key}=localhost:{port}"]
    assert main(["submit", "flink", str(spec), *changes, "--", *words("lost")]) == 69
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"clozekit submit: {message}")
