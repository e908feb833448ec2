"""`clozekit doctor`: every line of a sound machine, what is red and what it then says, the exit status, JSON."""

import json
import shutil
from pathlib import Path

import pytest
from google_front import FORBIDDEN_BUCKET, Storage, files

from clozekit.deploy.cli.main import main
from clozekit.deploy.doctor.findings import NOTE, OK, RED, Finding, examine
from clozekit.deploy.doctor.machine_checks import cluster, disks, packages, read_pins
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError

NAMES = ["python", "packages", "tensorflow", "devices", "bfloat16", "xla", "cluster", "disk"]


@pytest.mark.slow
def test_a_sound_machine_has_nothing_red(
    storage: Storage, dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["doctor", "--dataset", dataset[0], "--bucket", "gs://ours/folder", "--directory", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[1] for line in lines]
    assert list(dict.fromkeys(names)) == [*NAMES, "bucket", "dataset"]
    assert lines[-2].endswith("gs://ours/folder: listed; a probe written, read and deleted")
    assert f"{dataset[0]}: " in lines[-1]
    # Nothing is left of the probe.
    assert files().find("ours/folder") == []


def test_a_red_line_of_the_doctor_says_what_to_do_and_fails(
    storage: Storage, dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset[0], copy)
    (copy / dataset[1].splits["train"].shards[0].name).write_bytes(b"cut")
    pins = tmp_path / "constraints.txt"
    pins.write_text("numpy==1.0 # old\nkeras==3.15.1\nnot-installed==1.0\n", encoding="utf-8")
    arguments = ["doctor", "--dataset", str(copy), "--bucket", f"gs://{FORBIDDEN_BUCKET}", "--preset", str(tmp_path)]
    assert main([*arguments, "--constraints", str(pins), "--json"]) == 2
    screen = capsys.readouterr()
    red = {finding["name"]: finding for finding in json.loads(screen.out) if finding["status"] == RED}
    assert list(red) == ["packages", "bucket", "dataset", "preset"]
    assert "1 are not the tested versions: numpy" in red["packages"]["found"]
    assert f"--constraint {pins}" in red["packages"]["advice"]
    assert "no permission" in red["bucket"]["found"]
    assert "is damaged (found 3)" in red["dataset"]["found"]
    assert all(finding["advice"] for finding in red.values())
    (line,) = screen.err.splitlines()
    assert line.startswith("clozekit doctor: nothing may be red, 4 of ")


def test_a_cluster_whose_workers_nobody_knows_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = ["localhost:2222", "no-such-host.invalid:2222"]
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": workers}, "task": task}))
    (finding,) = cluster()
    assert finding.status == RED
    assert finding.found == (
        "TF_CONFIG says worker 0 of 2: localhost:2222, no-such-host.invalid:2222; unknown: no-such-host.invalid:2222"
    )
    monkeypatch.setenv("TF_CONFIG", "{broken")
    (finding,) = examine([("cluster", cluster)])
    assert (finding.name, finding.status, finding.advice) == ("cluster", RED, "correct it or unset it")


def test_a_full_disk_is_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free_gb, status in ((1.0, RED), (5.0, NOTE), (50.0, OK)):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free_gb: usage._replace(free=int(free * 1e9)))
        assert {finding.status for finding in disks(str(tmp_path))} == {status}


def test_pins_are_those_of_this_python() -> None:
    text = '# pins\na==1.0\nb==2.0; python_version < "3"\nb==3.0; python_version >= "3"\n\n'
    assert read_pins(text) == {"a": "1.0", "b": "3.0"}
    (finding,) = packages("/no/such/file")
    assert finding.status == NOTE


def test_a_check_that_raises_is_a_red_finding() -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("a library\nis broken")

    def refused() -> list[Finding]:
        raise InputError("a rule must be kept, it is not; keep it")

    findings = list(examine([("one", broken), ("two", refused)]))
    assert [str(finding) for finding in findings] == [
        "RED  one         RuntimeError: a library is broken; reinstall with `make setup`",
        "RED  two         a rule must be kept, it is not; keep it",
    ]
