"""`submit dataflow`: Beam's real runner up to its job request, against a local endpoint and a local bucket."""

import gzip
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gcsfs
import pytest
from apache_beam.internal import pickler
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import json_format
from stand_in import Request, StandIn, service_account  # noqa: E402
from storage_server import storage_server  # noqa: E402

from clozekit.deploy.cli.main import main
from clozekit.deploy.flex_template.launch import launch
from clozekit.deploy.submit import submit_job as submit
from clozekit.deploy.submit.job_spec import FINGERPRINT
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.extras import EXTRAS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
JOBS = "/v1b3/projects/my-project/locations/us-central1/jobs"
IMAGE = "us-docker.pkg.dev/my-project/clozekit/pipelines:0.1.0"


class Dataflow:
    """What Dataflow's jobs API keeps: jobs by id, one active job of a name."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.polls = 0
        self.refusal: tuple[int, str] | None = None

    def answer(self, request: Request) -> tuple[int, Any]:
        if self.refusal is not None:
            status, message = self.refusal
            return status, {"error": {"code": status, "message": message}}
        if request.path == JOBS and request.method == "POST":
            active = [job for job in self.jobs.values() if job["currentState"] in (2, 9)]
            same = [job for job in active if job["name"] == request.body["name"]]
            replaced = request.body.get("replaceJobId")
            if replaced in self.jobs:
                # JOB_STATE_UPDATED.
                self.jobs[replaced]["currentState"] = 6
            elif same:
                return 200, same[0]
            number = f"2026-11-21_00_00_00-{len(self.jobs)}"
            times = {"createTime": f"2026-11-21T00:00:0{len(self.jobs)}Z"}
            self.jobs[number] = {**request.body, "id": number, "currentState": 9, **times}
            return 200, self.jobs[number]
        if re.fullmatch(r"/v1b3/projects/my-project/locations/[a-z0-9-]+/jobs", request.path):
            name = request.query.get("name")
            return 200, {"jobs": [job for job in self.jobs.values() if name in (None, job["name"])]}
        found = re.fullmatch(rf"{JOBS}/([^/]+)(/messages)?", request.path)
        if found is None or found[1] not in self.jobs:
            return 404, {"error": {"code": 404, "message": f"{request.path} not found"}}
        job = self.jobs[found[1]]
        if found[2]:
            return 200, {"jobMessages": [{"id": "1", "messageText": "Starting 3 workers.", "messageImportance": 5}]}
        if request.method == "PUT":
            # Of a stream DRAINED is asked for, 8, and it is DRAINING, 7, until its windows are frozen.
            job["requestedState"] = request.body["requestedState"]
            job["currentState"] = {8: 7}.get(request.body["requestedState"], 5)
        self.polls += 1
        return 200, job


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """gs://bucket on this machine, in us-central1 as the server has it, and credentials for it."""
    with pytest.MonkeyPatch.context() as environment, StandIn(lambda request: (404, {})) as tokens:
        folder = tmp_path_factory.mktemp("google")
        key = service_account(folder / "key.json", f"{tokens.url}/token")
        environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        environment.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
        gcsfs.GCSFileSystem.clear_instance_cache()
        with storage_server() as port:
            environment.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
            gcsfs.GCSFileSystem(token="anon", project="my-project").mkdir("bucket")
            yield
        gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.fixture
def dataflow() -> Iterator[tuple[Dataflow, StandIn]]:
    platform = Dataflow()
    with StandIn(platform.answer) as server:
        yield platform, server


@pytest.fixture
def spec(dataflow: tuple[Dataflow, StandIn], tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(
        f"""
name: prepare-docs
image: {IMAGE}
project: my-project
region: us-central1
machine: n2-highmem-8
num_workers: 3
disk_gb: 100
labels: {{team: lm}}
service_account: worker@my-project.iam.gserviceaccount.com
subnetwork: regions/us-central1/subnetworks/s
dataflow:
  temp_location: gs://bucket/temp
  max_workers: 50
  harness_threads: 4
  public_ips: false
  disk_type: pd-ssd
  experiments: [shuffle_mode=service]
  endpoint: {dataflow[1].url}
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def words(bucket: None, corpus: Path, tokenizer_directory: str, request: pytest.FixtureRequest) -> list[str]:
    """A `prepare` of the corpus in the bucket, into a folder of the test's own."""
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.pipe_file("bucket/docs/documents.jsonl.gz", gzip.compress(corpus.read_bytes(), mtime=0))
    files.invalidate_cache()
    output = f"gs://bucket/out/{request.node.name}"
    place = ["--input", "gs://bucket/docs/*.jsonl.gz", "--tokenizer", tokenizer_directory, "--output", output]
    return ["prepare", *place, "--sequence-length", "32", "--num-shards", "3", "--validation-rate", "0.1"]


def names_in_bucket(folder: str) -> list[str]:
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.invalidate_cache()
    return sorted(files.find(f"bucket/{folder}"))


def test_the_request_holds_what_the_spec_says_and_the_graph_is_staged(
    spec: Path, words: list[str], dataflow: tuple[Dataflow, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "dataflow", str(spec), "--", *words]) == 0
    (job,) = dataflow[0].jobs.values()
    assert (job["name"], job["type"]) == ("prepare-docs", 1)
    assert job["labels"]["team"] == "lm" and re.fullmatch("[0-9a-f]{16}", job["labels"][FINGERPRINT])
    environment = job["environment"]
    assert environment["serviceAccountEmail"] == "worker@my-project.iam.gserviceaccount.com"
    assert "shuffle_mode=service" in environment["experiments"]
    (pool,) = environment["workerPools"]
    expected = {
        "workerHarnessContainerImage": IMAGE,
        "machineType": "n2-highmem-8",
        "numWorkers": 3,
        "diskSizeGb": 100,
        "diskType": "compute.googleapis.com/projects//zones//diskTypes/pd-ssd",
        "subnetwork": "regions/us-central1/subnetworks/s",
        "numThreadsPerWorker": 4,
        # WORKER_IP_PRIVATE.
        "ipConfiguration": 2,
        # AUTOSCALING_ALGORITHM_BASIC.
        "autoscalingSettings": {"maxNumWorkers": 50, "algorithm": 2},
    }
    assert {name: pool[name] for name in expected} == expected
    options = environment["sdkPipelineOptions"]["options"]
    assert options["save_main_session"] is False
    assert options["sdk_location"] == "container"
    # Neither packages nor a pickled main session: the image has all of it.
    assert [entry["name"] for entry in pool["packages"]] == ["submission_environment_dependencies.txt"]
    staged = options["pipelineUrl"].removeprefix("gs://")
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.invalidate_cache()
    graph = beam_runner_api_pb2.Pipeline.FromString(files.cat_file(staged))
    stages = {transform.unique_name.split("/")[0] for transform in graph.components.transforms.values()}
    assert {"SelectDocuments", "Encode", "WriteSideLines", "CheckCounts32"} <= stages
    images = {
        beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image
        for environment in graph.components.environments.values()
    }
    assert images == {IMAGE}
    assert "submitted\njob    prepare-docs\n" in capsys.readouterr().err


@pytest.fixture
def all_in_bucket(words: list[str], tokenizer_directory: str) -> list[str]:
    """`words` with the tokenizer in the bucket too."""
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    for path in Path(tokenizer_directory).rglob("*"):
        if path.is_file():
            files.pipe_file(f"bucket/tokenizer/{path.relative_to(tokenizer_directory)}", path.read_bytes())
    files.invalidate_cache()
    return ["gs://bucket/tokenizer" if word == tokenizer_directory else word for word in words]


def test_without_an_image_the_code_goes_along(
    spec: Path, all_in_bucket: list[str], dataflow: tuple[Dataflow, StandIn], tmp_path: Path
) -> None:
    """A checkout's setup.py becomes a package that Dataflow's own workers install; what is in it can be imported."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    # Of a copy: making the package leaves files beside it.
    for name in listed.splitlines():
        (tmp_path / "clozekit" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, tmp_path / "clozekit" / name)
    setup_file = f"dataflow.setup_file={tmp_path}/clozekit/setup.py"
    assert main(["submit", "dataflow", str(spec), "image=null", setup_file, "--", *all_in_bucket]) == 0
    (job,) = dataflow[0].jobs.values()
    (pool,) = job["environment"]["workerPools"]
    packages = {entry["name"]: entry["location"] for entry in pool["packages"]}
    assert {"workflow.tar.gz", "requirements.txt"} <= set(packages)
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.invalidate_cache()
    # Workers install it without its extras; those come from a list beside it.
    listed_packages = files.cat_file(packages["requirements.txt"].removeprefix("storage.googleapis.com/")).decode()
    names = {line.replace("-", "_").replace("_cloud_", ".cloud.") for line in listed_packages.split("\n")[1:] if line}
    assert names == {module for extra in ("pipelines", "gcs", "clean", "warc") for module in EXTRAS[extra]} - {
        "apache_beam"
    }
    content = files.cat_file(packages["workflow.tar.gz"].removeprefix("storage.googleapis.com/"))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("pipelines", "model", "tokenizers", "deploy")
    ours = {name for name in listed.split() if name.endswith(".py") and name.split("/")[0] in folders}
    # It starts jobs, from an image of its own.
    ours.remove("deploy/flex_template/main.py")
    assert ours <= names
    assert "beam_python" in pool["workerHarnessContainerImage"]


def test_the_tokenizer_may_be_in_the_bucket(
    spec: Path, all_in_bucket: list[str], dataflow: tuple[Dataflow, StandIn]
) -> None:
    assert main(["submit", "dataflow", str(spec), "--", *all_in_bucket]) == 0
    (job,) = dataflow[0].jobs.values()
    staged = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"].removeprefix("gs://")
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.invalidate_cache()
    graph = beam_runner_api_pb2.Pipeline.FromString(files.cat_file(staged))
    found = set()
    for transform in graph.components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            if payload.do_fn.urn == python_urns.PICKLED_DOFN_INFO and payload.do_fn.payload:
                function = pickler.loads(payload.do_fn.payload)[0]
                found.add(getattr(function, "_tokenizer_directory", None))
    # Workers load it by its URL.
    assert found == {None, "gs://bucket/tokenizer"}


def test_the_same_job_is_sent_once_and_another_of_its_name_is_refused(
    spec: Path, words: list[str], dataflow: tuple[Dataflow, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["submit", "dataflow", str(spec)]
    assert main([*arguments, "--", *words]) == 0
    assert main([*arguments, "--", *words]) == 0
    assert "already submitted, nothing is sent" in capsys.readouterr().err
    assert main([*arguments, "num_workers=4", "--", *words]) == 73
    assert "the name of a job must be free, prepare-docs is a job of another spec" in capsys.readouterr().err
    posts = [request for request in dataflow[1].requests if request.method == "POST"]
    assert (len(posts), len(dataflow[0].jobs)) == (1, 1)
    assert main(["submit", "status", "dataflow", str(spec)]) == 0
    assert "waiting (JOB_STATE_PENDING)" in capsys.readouterr().out
    assert main(["submit", "cancel", "dataflow", str(spec)]) == 0
    assert main(["submit", "status", "dataflow", str(spec)]) == 0
    assert "cancelled (JOB_STATE_CANCELLED)" in capsys.readouterr().out
    # A job that has ended leaves its name to the next.
    assert main([*arguments, "num_workers=4", "--", *words]) == 0
    assert len(dataflow[0].jobs) == 2


def test_a_dry_run_prints_the_request_that_would_be_sent_and_sends_and_writes_nothing(
    spec: Path, words: list[str], dataflow: tuple[Dataflow, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    before = names_in_bucket("out")
    assert main(["submit", "dataflow", str(spec), "--dry-run", "--", *words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert dataflow[1].requests == []
    assert names_in_bucket("out") == before
    assert main(["submit", "dataflow", str(spec), "--", *words]) == 0
    (sent,) = (request.body for request in dataflow[1].requests if request.method == "POST")

    def comparable(message: Any, is_sent: bool) -> Any:
        """Without what is of the moment (times, staging folders), enums as names."""
        from google.cloud import dataflow_v1beta3

        if is_sent:
            parsed = dataflow_v1beta3.Job.from_json(json.dumps(message), ignore_unknown_fields=True)
            message = json_format.MessageToDict(dataflow_v1beta3.Job.pb(parsed))
        text = re.sub(r"prepare-docs\.\d+\.\d+/?", "", json.dumps(message, sort_keys=True))
        message = json.loads(re.sub(r"/{2,}", "/", text))
        for key in ("clientRequestId",):
            message.pop(key)
        told = message["environment"]["sdkPipelineOptions"]
        told["options"].pop("pipelineProtoHash")
        return message

    assert comparable(shown, False) == comparable(sent, True)


def test_a_dry_run_asks_nobody(spec: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """For the real service Beam would look at the buckets first; there is no network here."""
    changes = ["dataflow.endpoint=null", "dataflow.temp_location=gs://elsewhere/temp"]
    assert main(["submit", "dataflow", str(spec), *changes, "--dry-run", "--", *words]) == 0
    request = json.loads(capsys.readouterr().out)
    (pool,) = request["environment"]["workerPools"]
    assert (request["name"], pool["kind"], pool["numWorkers"]) == ("prepare-docs", "harness", 3)
    assert request["environment"]["sdkPipelineOptions"]["options"]["runner"] == "DataflowRunner"
    (package,) = pool["packages"]
    # No pickled main session, which Beam sends to the real service unless it is told otherwise.
    assert package["name"] == "submission_environment_dependencies.txt"
    assert package["location"].startswith("storage.googleapis.com/elsewhere/temp/staging/prepare-docs.")


def test_a_job_that_is_waited_for_ends_with_its_dataset_looked_at(
    spec: Path,
    words: list[str],
    dataflow: tuple[Dataflow, StandIn],
    corpus: Path,
    tokenizer_directory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform, _ = dataflow
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.0)
    output = words[words.index("--output") + 1]

    def run_the_job(request: Request) -> tuple[int, Any]:
        """Dataflow, whose workers make the dataset while the job is polled the second time."""
        if platform.polls == 2:
            options = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=3)
            reading = ReadSettings(("gs://bucket/docs/*.jsonl.gz",))
            manifest, _ = prepare(reading, options, tokenizer_directory, str(tmp_path / "dataset"))
            files = gcsfs.GCSFileSystem(token="anon", project="my-project")
            files.put(f"{tmp_path}/dataset/", output.removeprefix("gs://") + "/", recursive=True)
            files.invalidate_cache()
            gcsfs.GCSFileSystem.clear_instance_cache()
            next(iter(platform.jobs.values()))["currentState"] = 3
        return platform.answer(request)

    with StandIn(run_the_job) as server:
        changes = [f"dataflow.endpoint={server.url}"]
        assert main(["submit", "dataflow", str(spec), *changes, "--wait", "--", *words]) == 0
    captured = capsys.readouterr()
    assert "Starting 3 workers." in captured.out
    assert f"documents_in{300:>24}" in captured.out
    assert "prepare-docs has succeeded" in captured.err
    shutil.rmtree(tmp_path / "dataset")


@pytest.mark.parametrize(
    ("changes", "refusal", "status", "message"),
    [
        (
            ["dataflow.temp_location=gs://nothing-there/temp"],
            None,
            66,
            "in a bucket that is there, gs://nothing-there is",
        ),
        (
            ["region=europe-west4", "subnetwork=null"],
            None,
            66,
            "gs://bucket is in us-central1 and the job in europe-west4",
        ),
        ([], (403, "Permission dataflow.jobs.create denied"), 77, "Permission dataflow.jobs.create denied"),
        ([], (404, "The region us-central9 does not exist"), 78, "check project, region and that the API is enabled"),
        (
            [],
            (400, "The workflow could not be created: unknown location"),
            78,
            "Dataflow in my-project, us-central1 refused",
        ),
        ([], (400, "Machine type n2-highmem-8 is not offered"), 65, "change the job and submit it again"),
    ],
)
def test_what_is_refused_is_one_line_with_a_status_of_its_own(
    changes: list[str],
    refusal: tuple[int, str] | None,
    status: int,
    message: str,
    spec: Path,
    words: list[str],
    dataflow: tuple[Dataflow, StandIn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform, _ = dataflow
    platform.refusal = refusal
    answered = main(["submit", "dataflow", str(spec), *changes, "--", *words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit submit:")]
    assert (answered, len(lines)) == (status, 1), lines
    assert message in lines[0]
    assert platform.jobs == {}


def test_without_credentials_there_is_one_line(
    spec: Path,
    words: list[str],
    dataflow: tuple[Dataflow, StandIn],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert main(["submit", "dataflow", str(spec), "--", *words]) == 77
    assert "submitting needs Google credentials" in capsys.readouterr().err
    assert dataflow[1].requests == []


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (["image=null"], [], "needs what its workers run: the key image"),
        (["environment={A: b}"], [], "Dataflow sets no variables on its workers"),
        ([], ["train", "c.yaml"], "dataflow runs `prepare`, got train c.yaml"),
        (
            [],
            ["prepare", "--input", "docs", "--tokenizer", "/t", "--output", "gs://bucket/o"],
            "inputs must be where Dataflow's",
        ),
        (
            [],
            ["prepare", "--input", "gs://bucket/d", "--tokenizer", "t", "--output", "gs://bucket/o"],
            "--tokenizer must be where",
        ),
        (
            ["output=out"],
            ["prepare", "--input", "gs://bucket/d", "--tokenizer", "/t", "--output", "gs://bucket/o"],
            "--output must be",
        ),
    ],
)
def test_what_workers_could_not_reach_is_refused_before_anything_is_sent(
    changes: list[str], words: list[str], message: str, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "dataflow", str(spec), *changes, "--dry-run", "--", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_flex_template_gives_the_launcher_its_job(
    words: list[str], dataflow: tuple[Dataflow, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Dataflow's launcher starts it: the job is written to a template_location, and the launcher sends it."""
    monkeypatch.setenv("CLOZEKIT_IMAGE", IMAGE)
    place = {name: words[words.index(f"--{name}") + 1] for name in ("input", "tokenizer", "output")}
    beam = ["--project=my-project", "--region=us-central1", "--job_name=docs", "--machine_type=n2-standard-4"]
    folders = [f"--{name}_location=gs://bucket/flex/{name}" for name in ("temp", "staging", "template")]
    endpoint = f"--dataflow_endpoint={dataflow[1].url}"
    launch([*(f"--{name}={value}" for name, value in place.items()), "--seed=3", *beam, *folders, endpoint])
    assert dataflow[1].requests == []
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.invalidate_cache()
    job = json.loads(files.cat_file("bucket/flex/template"))
    (pool,) = job["environment"]["workerPools"]
    assert (job["name"], pool["machineType"]) == ("docs", "n2-standard-4")
    assert pool["workerHarnessContainerImage"] == IMAGE


@pytest.fixture
def stream(bucket: None, tokenizer_directory: str, tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """A `stream` of a subscription, into a folder of the test's own."""
    path = tmp_path / "stream.yaml"
    path.write_text(
        f"""
tokenizer: {tokenizer_directory}
output: gs://bucket/streams/{request.node.name}
source: {{kind: pubsub, subscription: projects/my-project/subscriptions/documents}}
rows: {{sequence_length: 32}}
stream: {{window_seconds: 60}}
""",
        encoding="utf-8",
    )
    return ["stream", str(path)]


def test_a_stream_is_a_streaming_job_whose_graph_ends_in_frozen_panes(
    spec: Path, stream: list[str], dataflow: tuple[Dataflow, StandIn], request: pytest.FixtureRequest
) -> None:
    assert main(["submit", "dataflow", str(spec), "--", *stream, "stream.window_seconds=120"]) == 0
    (job,) = dataflow[0].jobs.values()
    # JOB_TYPE_STREAMING.
    assert (job["name"], job["type"]) == ("prepare-docs", 2)
    environment = job["environment"]
    assert {"enable_streaming_engine", "enable_windmill_service"} <= set(environment["experiments"])
    options = environment["sdkPipelineOptions"]["options"]
    assert (options["streaming"], options["enable_streaming_engine"]) == (True, True)
    assert environment["workerPools"][0]["autoscalingSettings"] == {"maxNumWorkers": 50, "algorithm": 2}
    files = gcsfs.GCSFileSystem(token="anon", project="my-project")
    files.invalidate_cache()
    graph = beam_runner_api_pb2.Pipeline.FromString(files.cat_file(options["pipelineUrl"].removeprefix("gs://")))
    names = {transform.unique_name for transform in graph.components.transforms.values()}
    assert {"ReadSource", "FreezePanes/GatherPane", "FreezePanes/FreezePane"} <= names
    # Of the stream there is what says that it is one, and its tokenizer, which workers take from there.
    written = names_in_bucket(f"streams/{request.node.name}")
    assert f"bucket/streams/{request.node.name}/stream.json" in written
    assert f"bucket/streams/{request.node.name}/tokenizer/tokenizer.json" in written


def test_a_dry_run_of_a_stream_sends_and_writes_nothing(
    spec: Path,
    stream: list[str],
    dataflow: tuple[Dataflow, StandIn],
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    assert main(["submit", "dataflow", str(spec), "dataflow.update=true", "--dry-run", "--", *stream]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["type"]) == ("prepare-docs", "JOB_TYPE_STREAMING")
    assert dataflow[1].requests == [] and names_in_bucket(f"streams/{request.node.name}") == []


def test_a_stream_is_updated_by_name_and_drained_not_cancelled(
    spec: Path, stream: list[str], dataflow: tuple[Dataflow, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "dataflow", str(spec), "--", *stream]) == 0
    assert main(["submit", "dataflow", str(spec), "--", *stream]) == 0
    assert len(dataflow[0].jobs) == 1
    more = [str(spec), "num_workers=5"]
    assert main(["submit", "dataflow", *more, "--", *stream]) == 73
    update = ["submit", "dataflow", *more, "dataflow.update=true", "--", *stream]
    # It waits for its machines yet.
    assert main(update) == 69
    (waiting,) = dataflow[0].jobs.values()
    waiting["currentState"] = 2
    assert main(update) == 0
    first, second = dataflow[0].jobs.values()
    assert (second["replaceJobId"], first["currentState"]) == (first["id"], 6)
    assert main(["submit", "cancel", "dataflow", str(spec)]) == 0
    assert (second["requestedState"], second["currentState"]) == (8, 7)
    capsys.readouterr()
    assert main(["submit", "status", "dataflow", str(spec), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["phase"], found["detail"]) == ("running", "JOB_STATE_DRAINING")


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (
            [],
            ["source={}", "read={inputs: [gs://bucket/in]}"],
            "a stream on Dataflow reads from a source.kind of pubsub or kafka, got files",
        ),
        ([], ["output=here"], "output must be where Dataflow's workers reach it"),
        (["provisioning=flex_start"], [], "a stream runs on standard machines"),
        ([], ["--metrics", "m.jsonl"], "--metrics and --prometheus are of a stream that is followed here"),
    ],
)
def test_a_stream_that_no_worker_could_read_is_refused(
    changes: list[str],
    words: list[str],
    message: str,
    spec: Path,
    stream: list[str],
    dataflow: tuple[Dataflow, StandIn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", "dataflow", str(spec), *changes, "--", *stream, *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"clozekit submit: {message}")
    assert dataflow[1].requests == []
