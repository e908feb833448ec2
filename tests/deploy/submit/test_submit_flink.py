"""`submit flink` without Flink: what is refused before anything is sent, what a cluster answers put into one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from stand_in import Request, StandIn

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import submit_job

PREPARE = ["prepare", "--input", "gs://bucket/docs/*", "--tokenizer", "gs://bucket/t", "--output", "gs://bucket/out"]
TRACE = """org.apache.flink.runtime.JobException: Recovery is suppressed
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 1: Traceback (most recent call last):
clozekit.tokenizers.common.errors.InputError: at most 0 of all records may be bad [while running 'CheckCounts32']
"""


class Flink:
    """What Flink's REST interface says of jobs."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.trace = TRACE

    def add(self, name: str, state: str) -> None:
        tasks = {"total": 4, "finished": 1}
        number = f"{len(self.jobs):032x}"
        self.jobs.append({"jid": number, "name": name, "state": state, "start-time": len(self.jobs), "tasks": tasks})

    def answer(self, request: Request) -> tuple[int, Any]:
        if request.path == "/jobs/overview":
            return 200, {"jobs": self.jobs}
        if request.method == "PATCH":
            self.cancelled.append(request.path)
            return 202, {}
        if request.path.endswith("/exceptions"):
            entry = {"timestamp": 1, "stacktrace": "java.lang.Exception: lost\n  at x"}
            return 200, {"root-exception": self.trace, "exceptionHistory": {"entries": [entry]}}
        return 404, {"errors": ["Not found"]}


@pytest.fixture
def flink() -> Iterator[tuple[Flink, StandIn]]:
    cluster = Flink()
    with StandIn(cluster.answer) as server:
        yield cluster, server


@pytest.fixture
def spec(flink: tuple[Flink, StandIn], tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    settings = {"rest_address": flink[1].url.removeprefix("http://"), "job_endpoint": "localhost:1"}
    path.write_text(yaml.safe_dump({"name": "docs", "num_workers": 4, "flink": settings}), encoding="utf-8")
    return path


def test_a_dry_run_prints_the_options_and_asks_nobody(
    spec: Path, flink: tuple[Flink, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--", *PREPARE, "--", "--max_bundle_size=500"]
    assert main(["submit", "flink", str(spec), "flink.slots=2", "--dry-run", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["--runner=FlinkRunner", "--job_endpoint=localhost:1"]
    assert {"--parallelism=8", "--environment_type=EXTERNAL", "--environment_config=localhost:50000"} <= set(lines)
    assert lines[-1] == "--max_bundle_size=500"
    assert flink[1].requests == []


def test_status_is_of_the_newest_job_of_that_name_that_is_not_over(
    spec: Path, flink: tuple[Flink, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = "0123456789abcdef"
    for name, state in (
        (f"docs-{fingerprint}", "RUNNING"),
        (f"docs-{fingerprint}", "FAILED"),
        (f"docs-more-{fingerprint}", "RUNNING"),
        ("docs", "RUNNING"),
    ):
        flink[0].add(name, state)
    assert main(["submit", "status", "flink", str(spec), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["identifier"], found["phase"], found["fingerprint"]) == (f"{0:032x}", "running", fingerprint)
    assert main(["submit", "cancel", "flink", str(spec)]) == 0
    assert flink[0].cancelled == [f"/jobs/{0:032x}"]


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (TRACE, "at most 0 of all records may be bad"),
        ("a.b.JobException: no\nCaused by: c.Lost: TaskManager is gone\n", "c.Lost: TaskManager is gone"),
        ("a.b.NoResource: not enough slots\n  at x\n", "a.b.NoResource: not enough slots"),
    ],
)
def test_why_a_job_failed_is_one_line(
    trace: str,
    reason: str,
    spec: Path,
    flink: tuple[Flink, StandIn],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submit_job, "POLL_SECONDS", 0)
    flink[0].trace = trace
    flink[0].add("docs-0123456789abcdef", "FAILED")
    assert main(["submit", "status", "flink", str(spec), "--wait"]) == 1
    told = capsys.readouterr()
    assert "1 of 4 tasks have ended\nfailed: java.lang.Exception: lost\n" in told.out
    line = told.err.strip().splitlines()[-1]
    assert line.startswith(f"clozekit submit: docs has failed: FAILED: {reason}; see http://localhost:")


def test_a_forgotten_job_and_a_wrong_port_are_one_line(
    spec: Path, flink: tuple[Flink, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "status", "flink", str(spec)]) == 78
    assert "none called docs is" in capsys.readouterr().err
    for answer in ((200, "<html>"), (404, {}), (200, [1])):
        with StandIn(lambda request, answer=answer: answer) as other:
            change = f"flink.rest_address={other.url.removeprefix('http://')}"
            assert main(["submit", "status", "flink", str(spec), change]) == 78
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and "what answers at localhost:" in said[0]


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (["flink.job_endpoint=null"], PREPARE, "a job for flink needs Beam's job server"),
        (["flink.job_server_jar=server.jar"], PREPARE, "a job server runs (flink.job_endpoint) or is started"),
        (["flink.savepoint=gs://b/s"], PREPARE, "flink.savepoint is for a stream"),
        (["environment={A: b}"], PREPARE, "the workers of a session cluster have the variables"),
        (["flink.rest_address=http://localhost:8081"], PREPARE, "flink.rest_address must look like host:8081"),
        ([], ["train", "config.yaml"], "flink runs `prepare`, got train config.yaml"),
        ([], [*PREPARE, "--runner", "SparkRunner"], "--runner must be left out of what is submitted to flink"),
        (["flink.rest_address=null"], PREPARE, "a job for flink without flink.rest_address needs the key image"),
        (["flink={image: f}", "image=i"], [*PREPARE[:-1], "out"], "--output must be where Flink's workers reach it"),
        (["flink={image: f}", "image=i", "kubernetes={cpu: many}"], PREPARE, "kubernetes.cpu must be a number of CPUs"),
        (["flink={image: f}", "image=i"], PREPARE, "what the operator gets is printed by --dry-run"),
    ],
)
def test_what_could_not_run_is_refused(
    changes: list[str],
    words: list[str],
    message: str,
    spec: Path,
    flink: tuple[Flink, StandIn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    dry = ["--dry-run"] if "cpu" in message else []
    assert main(["submit", "flink", str(spec), *changes, *dry, "--", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"clozekit submit: {message}")
    assert flink[1].requests == []


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    path = tmp_path / "stream.yaml"
    places = "tokenizer: gs://bucket/t\noutput: gs://bucket/stream\nread: {inputs: ['gs://bucket/in/*.jsonl']}\n"
    path.write_text(f"{places}stream: {{window_seconds: 60}}\n", encoding="utf-8")
    return path


def test_a_stream_gets_checkpoints_and_keeps_no_workers(
    spec: Path, stream: Path, flink: tuple[Flink, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["flink.checkpoint_seconds=20", "flink.savepoint=gs://b/s", "--dry-run", "--", "stream", str(stream)]
    assert main(["submit", "flink", str(spec), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = {
        "--checkpointing_interval=20000",
        "--finish_bundle_before_checkpointing",
        "--streaming",
        "--savepoint_path=gs://b/s",
    }
    assert wanted <= set(lines) and not [line for line in lines if "cache_millis" in line]
    assert flink[1].requests == []


def test_a_stream_on_a_cluster_of_its_own_is_submitted_from_inside(
    stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the pod runs is this command, on this machine asked what it would send."""
    job = tmp_path / "job.yaml"
    flink = "{image: f, slots: 2, configuration: {state.checkpoints.dir: 'gs://bucket/checkpoints'}}"
    job.write_text(f"{{name: docs, image: i, num_workers: 2, flink: {flink}}}", encoding="utf-8")
    words = ["stream", str(stream), "stream.window_seconds=120"]
    assert main(["submit", "flink", str(job), "--dry-run", "--", *words]) == 0
    cluster, submission = yaml.safe_load_all(capsys.readouterr().out)
    assert cluster["spec"]["flinkConfiguration"]["state.checkpoints.dir"] == "gs://bucket/checkpoints"
    assert submission["metadata"]["name"] == "docs-stream"
    (container,) = submission["spec"]["template"]["spec"]["containers"]
    line = container["command"][-1]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["CLOZEKIT_CONFIG"] == stream.read_text(encoding="utf-8")
    place, inner = tmp_path / "inner.yaml", tmp_path / "recipe.yaml"
    place.write_text(variables["CLOZEKIT_JOB"], encoding="utf-8")
    inner.write_text(variables["CLOZEKIT_CONFIG"], encoding="utf-8")
    ran = line.partition("exec clozekit ")[2].replace("/tmp/clozekit-job.yaml", str(place))
    ran = ran.replace("/tmp/clozekit-config.yaml", str(inner)).replace(" -- ", " --dry-run -- ")
    assert main(ran.split()) == 0
    options = set(capsys.readouterr().out.splitlines())
    assert {"--job_endpoint=localhost:8099", "--flink_master=docs-rest:8081", "--parallelism=4"} <= options


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (
            [],
            ["source={kind: pubsub, subscription: projects/my-project/subscriptions/s}", "read={}"],
            "a stream on Flink reads from a source.kind of files or kafka",
        ),
        (["flink.checkpoint_seconds=0"], [], "flink.checkpoint_seconds must be at least 1"),
        (["flink={image: f}", "image=i"], [], "a stream on a cluster of its own keeps its checkpoints"),
        (
            ["flink={image: f, configuration: {state.checkpoints.dir: 'gs://b/c'}}", "image=i"],
            ["output=here"],
            "output must be where Flink's workers reach it",
        ),
        (
            ["flink={image: f, configuration: {state.checkpoints.dir: 'gs://b/c'}}", "image=i"],
            ["read.inputs=[here]"],
            "inputs must be where Flink's workers reach it",
        ),
    ],
)
def test_a_stream_that_flink_could_not_run_is_refused(
    changes: list[str],
    words: list[str],
    message: str,
    spec: Path,
    stream: Path,
    flink: tuple[Flink, StandIn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", "flink", str(spec), *changes, "--", "stream", str(stream), *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and message in said[0]
    assert flink[1].requests == []


def test_a_recipe_travels_with_the_manifests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, job = tmp_path / "recipe.yaml", tmp_path / "job.yaml"
    recipe.write_text("read: {inputs: ['gs://bucket/docs/*']}\nrows: {sequence_length: 64}\n", encoding="utf-8")
    job.write_text("{name: docs, image: i, flink: {image: f}}", encoding="utf-8")
    places = ["tokenizer=gs://bucket/t", "output=gs://bucket/out"]
    assert main(["submit", "flink", str(job), "--dry-run", "--", "prepare", str(recipe), *places]) == 0
    _, submission = yaml.safe_load_all(capsys.readouterr().out)
    (container,) = submission["spec"]["template"]["spec"]["containers"]
    assert str(recipe) not in container["command"][-1]
    assert "exec clozekit prepare /tmp/clozekit-config.yaml tokenizer=gs://bucket/t" in container["command"][-1]
    assert {"name": "CLOZEKIT_CONFIG", "value": recipe.read_text(encoding="utf-8")} in container["env"]
