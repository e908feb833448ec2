"""`submit gke`: Kubernetes' own Python client against a local stand-in of the API, which keeps objects by path."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pod_cluster import write_kubeconfig
from stand_in import Request, StandIn

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import submit_job as submit

GOLDEN = Path(__file__).parent / "golden"
JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
TRAIN = ["--", "train", str(GOLDEN / "config.yaml")]
HALVES = [*TRAIN, "objective=replaced", "init_from=hf://org/discriminator", "replaced.generator=/models/generator"]


class Cluster:
    """Objects by path. Every look at a JobSet takes it one step on: it waits, runs, is completed."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.refusal: tuple[int, str] | None = None
        self.steps: list[dict[str, Any]] = []

    def answer(self, request: Request) -> tuple[int, Any]:
        if self.refusal is not None:
            return self.refusal[0], _status(*self.refusal)
        if request.path == PODS:
            began = {"creationTimestamp": "2026-11-21T00:00:00Z", "name": "bert-small-workers-0-0-x"}
            containers = [{"name": "trainer", "image": "i"}]
            return 200, {"kind": "PodList", "items": [{"metadata": began, "spec": {"containers": containers}}]}
        if request.path.startswith(PODS):
            return 200, "2026-11-21T00:00:01Z step 1: loss 7.0\n2026-11-21T00:00:02Z step 2: loss 6.5\n"
        if request.method == "POST":
            path = f"{request.path}/{request.body['metadata']['name']}"
            if path in self.objects:
                return 409, _status(409, f'"{request.body["metadata"]["name"]}" already exists')
            request.body["metadata"]["uid"] = f"uid-{len(self.objects)}"
            self.objects[path] = request.body
            return 201, request.body
        if request.path not in self.objects:
            name = request.path.rsplit("/", 1)[-1]
            return 404, _status(404, f'jobsets.jobset.x-k8s.io "{name}" not found')
        found = self.objects[request.path]
        if request.method == "DELETE":
            return 200, self.objects.pop(request.path)
        if self.steps:
            found["status"] = self.steps.pop(0)
        return 200, found


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, StandIn]]:
    platform = Cluster()
    with StandIn(platform.answer) as server:
        write_kubeconfig(tmp_path / "kubeconfig", server.url)
        # Read by the client when it is first imported, and again with every new configuration.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        monkeypatch.setattr(submit, "POLL_SECONDS", 0.0)
        yield platform, server


def run(*words: str) -> int:
    action = ["submit", *words[:1]] if words[0] not in ("status", "cancel") else ["submit", words[0], "gke"]
    return main([*action, str(GOLDEN / "job.yaml"), *words[1:]])


def test_a_jobset_is_sent_once_as_the_dry_run_shows_it(
    cluster: tuple[Cluster, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    platform, server = cluster
    assert run("gke", "--dry-run", *TRAIN) == 0
    assert server.requests == []
    shown = yaml.safe_load(capsys.readouterr().out)
    assert run("gke", *TRAIN) == 0
    assert run("gke", *TRAIN) == 0
    assert "already submitted" in capsys.readouterr().err
    assert run("gke", *TRAIN, "train.steps=7") == 73
    assert "bert-small is a job of another spec or command on gke" in capsys.readouterr().err
    posts = [request for request in server.requests if request.method == "POST"]
    assert [request.path for request in posts] == [JOBSETS]
    del posts[0].body["metadata"]["uid"]
    assert posts[0].body == shown
    assert run("cancel") == 0
    assert platform.objects == {}
    assert run("status") == 78
    assert "none called bert-small is" in capsys.readouterr().err


def test_an_indexed_job_brings_its_service_which_goes_with_it(cluster: tuple[Cluster, StandIn]) -> None:
    platform, _ = cluster
    assert run("gke", "kubernetes.kind=job", *TRAIN) == 0
    assert set(platform.objects) == {f"{JOBS}/bert-small", f"{SERVICES}/bert-small"}
    (owner,) = platform.objects[f"{SERVICES}/bert-small"]["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": "bert-small", "uid": "uid-0"}
    assert run("status", "kubernetes.kind=job") == 0


def ended(kind: str) -> dict[str, Any]:
    entry = {"type": kind, "status": "True", "reason": f"{kind}Reason", "message": "said so"}
    return {"conditions": [entry], "replicatedJobsStatus": [{"name": "workers", "ready": 0}]}


def test_waiting_follows_log_and_state_to_the_end(
    cluster: tuple[Cluster, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    platform, _ = cluster
    platform.steps = [{}, {"replicatedJobsStatus": [{"name": "workers", "ready": 1}]}, ended("Completed")]
    assert run("gke", "--wait", *TRAIN) == 0
    captured = capsys.readouterr()
    # Every line once, without its time.
    assert captured.out.splitlines() == ["step 1: loss 7.0", "step 2: loss 6.5"]
    assert "bert-small: running (Active)" in captured.err
    assert "bert-small has succeeded" in captured.err


def test_a_job_that_failed_makes_room_for_the_same_one(
    cluster: tuple[Cluster, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    platform, server = cluster
    platform.steps = [ended("Failed")]
    assert run("gke", "--wait", *TRAIN) == 1
    assert "bert-small has failed: FailedReason: said so; see kubectl" in capsys.readouterr().err
    assert run("gke", *TRAIN) == 0
    assert [request.method for request in server.requests if request.method != "GET"] == ["POST", "DELETE", "POST"]


@pytest.mark.parametrize(
    ("refusal", "status", "message"),
    [
        ((401, "Unauthorized"), 77, "must allow it, it answered Unauthorized; log in"),
        ((403, 'jobsets is forbidden: User "me" cannot get'), 77, "or ask for the role"),
        ((404, "404 page not found"), 78, "install JobSet or set kubernetes.kind=job"),
        ((422, "spec.replicatedJobs: Invalid value"), 65, "refused bert-small: spec.replicatedJobs: Invalid value"),
        ((503, "etcd is not there"), 69, "must be reachable, it answered etcd is not there"),
    ],
)
def test_what_the_cluster_refuses_is_one_line_with_a_status_of_its_own(
    refusal: tuple[int, str],
    status: int,
    message: str,
    cluster: tuple[Cluster, StandIn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform, _ = cluster
    platform.refusal = refusal
    assert run("gke", *TRAIN) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit submit:")]
    assert len(lines) == 1 and message in lines[0]
    assert platform.objects == {}


def test_without_a_kubeconfig_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert run("gke", *TRAIN) == 77
    assert "a job for gke needs a kubeconfig" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (["image=null"], TRAIN, "a job for gke needs the key image"),
        ([], ["--", "prepare"], "gke runs `train`, got prepare"),
        ([], ["--"], "gke runs `train`, got no command"),
        (["output=runs/here"], TRAIN, "directory must be where the workers of gke reach it"),
        ([], [*HALVES, "init_from=tests"], "init_from must be where the workers of gke reach it"),
        ([], [*HALVES, "replaced.generator=tests/"], "replaced.generator must be where the workers of gke reach it"),
        ([], [*TRAIN, "cluster.num_workers=2"], "cluster.num_workers must be the job's num_workers, got 2 and 3"),
        ([], [*TRAIN, "train.step=2"], "did you mean train.steps?"),
        (["accelerators.kind=tpu-v5-lite-podslice"], TRAIN, "TPUStrategy drives a slice from one process"),
    ],
)
def test_what_could_not_train_is_refused_before_anything_is_sent(
    changes: list[str], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("gke", *changes, *words) == 2
    assert message in capsys.readouterr().err


def test_presets_that_are_no_folders_here_are_left_to_the_pods(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gke", "--dry-run", *HALVES) == 0
    assert "replaced.generator=/models/generator" in capsys.readouterr().out


def test_a_mounted_volume_is_a_place_that_pods_reach(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["output=/scratch/run", "kubernetes={volumes: {claim: /scratch}}"]
    assert run("gke", *changes, "--dry-run", *TRAIN) == 0
    assert "mountPath: /scratch" in capsys.readouterr().out
