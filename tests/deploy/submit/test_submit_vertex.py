"""`submit vertex`: Vertex AI's own client, over REST against a local stand-in, with anonymous credentials."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1.services.job_service.transports.rest import JobServiceRestTransport
from stand_in import Request, StandIn  # noqa: E402

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import submit_job as submit
from clozekit.deploy.submit import vertex
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.job_state import JobState
from clozekit.deploy.submit.remote_command import RemoteCommand

GOLDEN = Path(__file__).parent / "golden"
JOBS = "/v1/projects/my-project/locations/europe-west4/customJobs"
TRAIN = ["--", "train", str(GOLDEN / "config.yaml")]


class Vertex:
    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.refusal: tuple[int, str] | None = None

    def answer(self, request: Request) -> tuple[int, Any]:
        if self.refusal is not None:
            status, message = self.refusal
            return status, {"error": {"code": status, "message": message}}
        if request.path == JOBS and request.method == "POST":
            made = {"name": f"{JOBS.removeprefix('/v1/')}/{len(self.jobs)}", "state": "JOB_STATE_PENDING"}
            made["createTime"] = f"2026-11-21T00:00:0{len(self.jobs)}Z"
            self.jobs.append({**request.body, **made})
            return 200, self.jobs[-1]
        if request.path == JOBS:
            assert request.query["filter"] == 'display_name="bert-small"'
            return 200, {"customJobs": self.jobs}
        number = request.path.removeprefix(f"{JOBS}/").split(":")[0]
        if request.path.endswith(":cancel"):
            self.jobs[int(number)]["state"] = "JOB_STATE_CANCELLED"
            return 200, {}
        return 200, self.jobs[int(number)]


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Vertex, StandIn]]:
    found = Vertex()
    with StandIn(found.answer) as server:

        def connect(job: Job) -> Any:
            host = server.url.removeprefix("http://")
            transport = JobServiceRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
            return aiplatform_v1.JobServiceClient(transport=transport)

        monkeypatch.setattr(vertex, "connect", connect)
        monkeypatch.setattr(submit, "POLL_SECONDS", 0.0)
        yield found, server


def run(*words: str) -> int:
    action = ["submit", *words[:1]] if words[0] == "vertex" else ["submit", words[0], "vertex"]
    return main([*action, str(GOLDEN / "job.yaml"), *words[1:]])


def test_a_job_is_sent_once_though_vertex_would_take_two_of_one_name(
    platform: tuple[Vertex, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = platform
    assert run("vertex", *TRAIN) == 0
    assert run("vertex", *TRAIN) == 0
    assert "already submitted" in capsys.readouterr().err
    assert run("vertex", "num_workers=2", *TRAIN) == 73
    assert len(found.jobs) == 1
    assert run("status") == 0
    assert "waiting (JOB_STATE_PENDING)" in capsys.readouterr().out
    found.jobs[0] |= {"state": "JOB_STATE_FAILED", "error": {"code": 8, "message": "no A100 left"}}
    assert run("status") == 0
    assert "failed (JOB_STATE_FAILED: no A100 left)" in capsys.readouterr().out
    # The same command goes on from its checkpoints.
    assert run("vertex", *TRAIN) == 0
    assert run("cancel") == 0
    assert [job["state"] for job in found.jobs] == ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED"]
    assert run("cancel") == 0
    assert "nothing to stop" in capsys.readouterr().out


def test_what_is_sent_is_what_the_dry_run_shows(
    platform: tuple[Vertex, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    _, server = platform
    assert run("vertex", "--dry-run", *TRAIN) == 0
    assert server.requests == []
    shown = aiplatform_v1.CreateCustomJobRequest.from_json(capsys.readouterr().out)
    assert run("vertex", *TRAIN) == 0
    (post,) = (request for request in server.requests if request.method == "POST")
    assert aiplatform_v1.CustomJob.from_json(json.dumps(post.body)) == shown.custom_job


@pytest.mark.parametrize(
    ("refusal", "status", "message"),
    [
        (
            (401, "Request had invalid authentication credentials"),
            77,
            "submitting needs Google credentials",
        ),
        ((403, "Permission aiplatform.customJobs.list denied"), 77, "or ask for the role"),
        ((404, "Project my-project is not there"), 78, "check project, region and that the API is enabled"),
        ((400, "Unsupported region for Vertex AI"), 78, "refused bert-small: 400"),
        (
            (429, "Quota custom_model_training_nvidia_a100_gpus exceeded"),
            65,
            "Quota custom_model_training_nvidia_a100_gpus",
        ),
    ],
)
def test_what_vertex_refuses_is_one_line_with_a_status_of_its_own(
    refusal: tuple[int, str],
    status: int,
    message: str,
    platform: tuple[Vertex, StandIn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, _ = platform
    found.refusal = refusal
    assert run("vertex", *TRAIN) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit submit:")]
    assert len(lines) == 1 and message in lines[0]
    assert found.jobs == []


def test_the_log_is_read_on_from_where_it_was() -> None:
    entries = [
        {
            "insertId": str(number),
            "timestamp": f"2030-01-01T00:00:0{number}Z",
            "textPayload": f"step {number}\n",
            "resource": {"labels": {"task_name": "workerpool0-0"}},
        }
        for number in range(5)
    ]
    shown = 2

    def answer(request: Request) -> tuple[int, Any]:
        assert 'resource.labels.job_id="7"' in request.body["filter"]
        since = request.body["filter"].split('timestamp>="')[1].rstrip('"')
        new = [entry for entry in entries[:shown] if str(entry["timestamp"]) >= since]
        first = int(request.body.get("pageToken", "0"))
        more = {"nextPageToken": str(first + 1)} if first + 1 < len(new) else {}
        return 200, {"entries": new[first : first + 1], **more}

    state = JobState("bert-small", "projects/p/locations/l/customJobs/7", "running", "", "", "the console")
    with StandIn(answer) as server, requests.Session() as session:
        job = Job("bert-small", project="my-project")
        read = vertex.log_reader(job, state, session, server.url + "/v2/entries:list")
        assert read() == ["workerpool0-0: step 0", "workerpool0-0: step 1"]
        assert read() == []
        shown = 5
        assert read() == [f"workerpool0-0: step {number}" for number in (2, 3, 4)]


@pytest.mark.parametrize(
    ("statuses", "max_restarts", "expected", "starts"),
    [([76, 76, 0], 5, 0, 3), ([76, 76, 76], 1, 76, 2), ([2], 5, 2, 1), ([75], 5, 75, 1), ([0], 5, 0, 1)],
)
def test_a_worker_that_lost_another_begins_again_and_others_end(
    statuses: list[int], max_restarts: int, expected: int, starts: int, tmp_path: Path
) -> None:
    """The script of the containers, with a command that ends as it is told."""
    for number, status in enumerate(statuses):
        (tmp_path / f"status-{number}").write_text(str(status))
    command = tmp_path / "train"
    command.write_text(
        f"#!/bin/sh\nn=$(cat {tmp_path}/starts 2>/dev/null || echo 0)\necho $((n + 1)) > {tmp_path}/starts\n"
        f"exit $(cat {tmp_path}/status-$n)\n"
    )
    command.chmod(0o755)
    script = RemoteCommand((str(command),), "a: 1\n").again_when_a_worker_is_lost(max_restarts)
    environment = {"PATH": "/bin:/usr/bin", "CLOZEKIT_CONFIG": "a: 1\n", "CLOZEKIT_LEAVE_SECONDS": "0"}
    script = script.replace("/tmp/clozekit-config.yaml", str(tmp_path / "config.yaml"))
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == expected
    assert (tmp_path / "starts").read_text().strip() == str(starts)
    assert (tmp_path / "config.yaml").read_text() == "a: 1\n"


def test_the_script_hands_sigterm_on_and_waits_for_the_saving(tmp_path: Path) -> None:
    command = tmp_path / "train"
    command.write_text(
        f"#!/bin/sh\ntrap 'echo saved > {tmp_path}/saved; exit 75' TERM\necho ready\n"
        # Not for ever: it must not outlive a test that fails.
        "for second in $(seq 60); do sleep 1 & wait $!; done\n"
    )
    command.chmod(0o755)
    script = RemoteCommand((str(command),), "").again_when_a_worker_is_lost(5)
    script = script.replace("/tmp/clozekit-config.yaml", str(tmp_path / "config.yaml"))
    environment = {"PATH": "/bin:/usr/bin", "CLOZEKIT_CONFIG": "", "CLOZEKIT_LEAVE_SECONDS": "0"}
    with subprocess.Popen(["/bin/sh", "-c", script], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(timeout=60) == 75
    assert (tmp_path / "saved").read_text() == "saved\n"
