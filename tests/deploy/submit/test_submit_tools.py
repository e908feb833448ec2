"""`submit tpu` and `submit slurm`: the commands they print and run, by tools of the test's own that note and answer."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import LINE

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import submit_job as submit
from clozekit.deploy.submit.job_spec import FINGERPRINT

GOLDEN = Path(__file__).parent / "golden"
TRAIN = ["--", "train", str(GOLDEN / "config.yaml")]
TPU = ["num_workers=1", "accelerators={kind: v5litepod-8}"]
Tool = Callable[[str, str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Makes a command of that name whose body is shell; each call is noted in calls.txt."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.0)

    def make(name: str, body: str) -> None:
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/calls.txt\ncd {tmp_path}\n{body}\n')
        path.chmod(0o755)

    return make


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def run(backend: str, *words: str) -> int:
    action = ["submit", backend] if words[:1] not in (("status",), ("cancel",)) else ["submit", words[0], backend]
    return main([*action, str(GOLDEN / "job.yaml"), *(word for word in words if word not in ("status", "cancel"))])


# A queued resource is a file; --labels are kept in it as the API gives them back.
GCLOUD = """
case "$*" in
  *" create "*) [ -e resource.json ] && { echo "ERROR: ALREADY_EXISTS" >&2; exit 1; }
    all="$*"; print=${all##*clozekit-fingerprint=}; print=${print%% *}
    script=${all##*startup-script=}; cp "${script%% *}" startup-script.sh
    echo '{"state": {"state": "'"$(cat next 2>/dev/null || echo WAITING_FOR_RESOURCES)"'"}, "tpu": {"nodeSpec": [{"node":'\\
      ' {"labels": {"clozekit-fingerprint": "'"$print"'"}}}]}}' > resource.json ;;
  *" describe "*)
    [ -e resource.json ] || { echo "ERROR: NOT_FOUND: projects/p/locations/z/queuedResources/bert-small" >&2; exit 1; }
    cat resource.json ;;
  *" delete "*) rm resource.json ;;
  *"storage cat"*) cat exit-status 2>/dev/null || { echo "ERROR: The following URLs matched no objects" >&2; exit 1; } ;;
  "logging read"*) echo '[{"insertId": "1", "jsonPayload": {"message": "step 1: loss 7.0"}}]' ;;
esac
"""


def test_a_tpu_is_asked_for_once_by_gcloud(tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool("gcloud", GCLOUD)
    assert run("tpu", *TPU, *TRAIN) == 0
    told = capsys.readouterr().err
    created = [call for call in calls(tmp_path) if " create " in call]
    assert len(created) == 1
    # What runs is what is printed.
    assert f"$ {created[0]}" in told
    assert "docker run" in (tmp_path / "startup-script.sh").read_text()
    assert run("tpu", *TPU, *TRAIN) == 0
    assert "already submitted" in capsys.readouterr().err
    assert run("tpu", *TPU, *TRAIN, "seed=2") == 73
    assert len([call for call in calls(tmp_path) if " create " in call]) == 1
    assert run("tpu", "status") == 0
    assert "waiting (WAITING_FOR_RESOURCES)" in capsys.readouterr().out
    assert run("tpu", "cancel") == 0
    assert run("tpu", "status") == 78


def test_a_tpu_that_is_taken_away_is_asked_for_again_until_the_run_is_done(
    tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first is suspended when it is looked at; the second is gone, its run done.
    looks = """
case "$*" in *" describe "*) if [ -e resource.json ]; then
  if [ -e second ]; then echo 0 > exit-status; rm resource.json; else
  touch second; sed -i 's/WAITING_FOR_RESOURCES/SUSPENDED/; s/"ACTIVE"/"SUSPENDED"/' resource.json; fi; fi ;; esac
"""
    tool("gcloud", looks + GCLOUD)
    (tmp_path / "next").write_text("ACTIVE\n")
    assert run("tpu", *TPU, "--wait", *TRAIN) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "step 1: loss 7.0"
    assert "bert-small: failed (SUSPENDED)" in captured.err
    assert len([call for call in calls(tmp_path) if " create " in call]) == 2
    assert captured.err.rstrip().endswith("bert-small has succeeded")


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        ("You do not currently have an active account selected.", 77, "log in (gcloud auth login)"),
        ("PERMISSION_DENIED: Permission 'tpu.nodes.get' denied", 77, "Permission 'tpu.nodes.get' denied"),
        ("Invalid zone europe-west9-z", 78, "check project, zone and partition"),
        ("RESOURCE_EXHAUSTED: quota TPUV5sLitepodPerProject", 65, "change the job and submit it again"),
        ("UNAVAILABLE: could not be reached", 69, "check the network"),
    ],
)
def test_what_gcloud_refuses_is_one_line_with_a_status_of_its_own(
    said: str, status: int, message: str, tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool("gcloud", f'echo "ERROR: (gcloud) {said}" >&2; exit 1')
    assert run("tpu", *TPU, *TRAIN) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit submit:")]
    assert len(lines) == 1 and message in lines[0]
    assert not any(" create " in call for call in calls(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_the_real_gcloud_takes_the_words_and_asks_for_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clozekit.deploy.submit import tpu
    from clozekit.deploy.submit.job_spec import load_job
    from clozekit.deploy.submit.platform_tools import run_tool
    from clozekit.deploy.submit.submit_errors import CredentialsError

    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    (tmp_path / "startup-script.sh").write_text("#!/bin/bash\n")
    changes = [*TPU, "tpu.max_wait_hours=2", "network=n", "subnetwork=s"]
    for provisioning in ("spot", "flex_start"):
        job = load_job(GOLDEN / "job.yaml", [*changes, f"provisioning={provisioning}"])
        command = tpu.command(job, TRAIN[1:], LINE)
        # An unknown option is refused before the lack of an account is.
        with pytest.raises(CredentialsError, match="active account"):
            run_tool(tpu.create_words(job, command, str(tmp_path / "startup-script.sh")))


SLURM = {
    "squeue": '[ -e state ] && echo "17|$(cat state)|None|clozekit-fingerprint=$(cat print)"; exit 0',
    "sbatch": "grep -o 'fingerprint=[0-9a-f]*' \"${@: -1}\" | cut -d= -f2 > print; echo PENDING > state; echo '17;cluster'",
    "scancel": "rm state; echo CANCELLED > ended",
    "scontrol": 'echo "JobId=17 JobName=bert-small JobState=$(cat ended) Reason=None ExitCode=2:0"',
}


@pytest.fixture
def slurm(tool: Tool) -> Tool:
    for name, body in SLURM.items():
        tool(name, body)
    return tool


def test_a_batch_job_is_queued_once(slurm: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("slurm", *TRAIN) == 0
    told = capsys.readouterr().err
    assert "$ sbatch --parsable clozekit-jobs/bert-small/job.sh" in told
    assert "id     17" in told
    assert run("slurm", "--dry-run", *TRAIN) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "clozekit-jobs" / "bert-small" / "job.sh").read_text() == shown
    assert f"{FINGERPRINT}={(tmp_path / 'print').read_text().strip()}" in shown
    assert run("slurm", *TRAIN) == 0
    assert "already submitted" in capsys.readouterr().err
    assert run("slurm", "num_workers=2", *TRAIN) == 73
    assert [call for call in calls(tmp_path) if call.startswith("sbatch")] == [
        "sbatch --parsable clozekit-jobs/bert-small/job.sh"
    ]
    assert run("slurm", "cancel") == 0
    assert run("slurm", "status") == 78


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [("COMPLETED", 0, "has succeeded"), ("FAILED", 1, "has failed: FAILED: exit code 2:0")],
)
def test_a_batch_job_is_followed_beyond_the_queue(
    end: str, status: int, message: str, slurm: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "clozekit-jobs" / "bert-small" / "log-17.txt"
    log.parent.mkdir(parents=True)
    log.with_name("log-16.txt").write_text("of an earlier job\n")
    # It runs when it is first looked at, and is over at the second look.
    slurm(
        "scontrol",
        f'echo "line $(grep -c . calls.txt)" >> {log}; if [ -e looked ]; then echo "JobState={end} ExitCode=2:0 Reason=None";'
        ' else touch looked; echo "JobState=RUNNING ExitCode=0:0 Reason=None"; fi',
    )
    assert run("slurm", "--wait", *TRAIN) == status
    captured = capsys.readouterr()
    assert message in captured.err
    lines = captured.out.splitlines()
    assert len(lines) == 2 and all(line.startswith("line ") for line in lines)
    assert "bert-small: running (RUNNING)" in captured.err


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("sbatch: error: invalid partition specified: gpus", 78),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 69),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified", 77),
        ("sbatch: error: Memory specification can not be satisfied", 65),
    ],
)
def test_what_slurm_refuses_is_one_line_with_a_status_of_its_own(
    said: str, status: int, slurm: Tool, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm("sbatch", f'echo "{said}" >&2; exit 1')
    assert run("slurm", *TRAIN) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit submit:")]
    assert len(lines) == 1 and said.split(":")[-1].strip() in lines[0]


def test_a_tool_that_is_not_there_is_named(tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["PATH"] = os.environ["PATH"].split(os.pathsep)[0]
    assert run("slurm", *TRAIN) == 69
    assert "this needs the command squeue, it is not on the path" in capsys.readouterr().err
    assert run("tpu", *TPU, *TRAIN) == 69


@pytest.mark.parametrize(
    ("backend", "changes", "message"),
    [
        (
            "tpu",
            ["num_workers=2", "accelerators={kind: v5litepod-8}"],
            "TPUStrategy drives a whole slice from one process",
        ),
        ("tpu", [*TPU, "output=null"], "a job for tpu needs the key output"),
        ("slurm", ["provisioning=flex_start"], "must be standard or spot"),
        ("slurm", ["budget={hours: 0.01}"], "budget must leave more than 120 seconds"),
    ],
)
def test_what_could_not_run_is_refused(
    backend: str, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(backend, *changes, "--dry-run", *TRAIN) == 2
    assert message in capsys.readouterr().err


def test_json_of_gcloud_is_what_the_stand_in_keeps(tool: Tool, tmp_path: Path) -> None:
    """The labels a queued resource is known again by are read where gcloud puts them."""
    tool("gcloud", GCLOUD)
    assert run("tpu", *TPU, *TRAIN) == 0
    kept = json.loads((tmp_path / "resource.json").read_text())
    assert set(kept["tpu"]["nodeSpec"][0]["node"]["labels"]) == {FINGERPRINT}
