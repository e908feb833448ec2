"""What the tests on real engines share: parts that are fetched once, or the reason why they are not run."""

import dataclasses
import json
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import engine_parts
import pytest
import yaml
from apache_beam.runners.portability.job_server import StopOnExitJobServer
from flink_cluster import FlinkCluster, WorkerPools, flink_cluster, job_server, keeps_jobs, options_of
from services import LOGS
from whole_graph import OPTIONS, every_stage, two_sources

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.manifest import read_manifest
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings

# What a service says of itself matters, not the frames below it.
_FRAME = re.compile(r"^\s+(at |\.\.\. )|^\s*$")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that failed, the ends of the logs of its engines: their folders are gone afterwards."""
    report = yield
    if report.when == "call" and report.failed:
        for log in LOGS[-12:]:
            if log.exists():
                lines = [line for line in log.read_text(errors="replace").splitlines() if not _FRAME.match(line)]
                report.sections.append((f"the end of {log.name}", "\n".join(line[:300] for line in lines[-25:])))
    return report


def part(fetch: Callable[[], Path]) -> Path:
    try:
        return fetch()
    except engine_parts.PartMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session", autouse=True)
def job_servers(temporary_files: None) -> Iterator[None]:
    """Those that runners start end here: at the end of Python, when Beam ends them, their temporary folders are gone."""
    servers: list[StopOnExitJobServer] = []
    start = StopOnExitJobServer.start

    def remember(server: StopOnExitJobServer) -> object:
        servers.append(server)
        return start(server)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopOnExitJobServer, "start", remember)
        yield
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def prism_program() -> Path:
    return part(engine_parts.prism)


@pytest.fixture(scope="session")
def flink_job_server() -> Path:
    return part(engine_parts.flink_job_server)


@pytest.fixture(scope="session")
def spark_jars() -> Path:
    return part(engine_parts.spark)


@pytest.fixture(scope="session")
def kfp_folder() -> Path:
    return part(engine_parts.kfp)


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    return part(engine_parts.kafka)


@pytest.fixture(scope="module")
def flink(
    flink_job_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FlinkCluster, WorkerPools]]:
    """A cluster and its worker pools."""
    jars = part(engine_parts.flink)
    with flink_cluster(jars, flink_job_server, tmp_path_factory.mktemp("flink")) as started:
        yield started


@pytest.fixture(scope="module")
def flink_arguments(
    flink: tuple[FlinkCluster, WorkerPools], flink_job_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """The options that lead to it, by a job server that runs."""
    cluster, pools = flink
    with job_server(flink_job_server, tmp_path_factory.mktemp("job-server"), cluster.master) as endpoint:
        yield options_of(cluster, pools, endpoint)


@pytest.fixture
def flink_that_keeps_jobs(
    flink_job_server: Path, tmp_path: Path
) -> Iterator[tuple[FlinkCluster, WorkerPools, list[str]]]:
    jars = part(engine_parts.flink)
    with ExitStack() as stack:
        more = stack.enter_context(keeps_jobs(jars, tmp_path))
        cluster, pools = stack.enter_context(flink_cluster(jars, flink_job_server, tmp_path, more=more))
        endpoint = stack.enter_context(job_server(flink_job_server, tmp_path, cluster.master))
        yield cluster, pools, options_of(cluster, pools, endpoint)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> CorpusSettings:
    return every_stage(tmp_path_factory.mktemp("lists"))


@pytest.fixture(scope="module")
def web(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> ReadSettings:
    return two_sources(corpus, tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def words(
    web: ReadSettings, everything: CorpusSettings, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[str]]:
    """The words of a `prepare` with every stage, into a folder of that name."""
    folder = tmp_path_factory.mktemp("recipe")
    filtered = everything.filter
    recipe = {
        "read": {
            "sources": [
                {"name": source.name, "inputs": list(source.inputs), "weight": source.weight}
                for source in web.all_sources
            ]
        },
        "clean": {
            "unicode": True,
            "fix_encoding": True,
            "boilerplate_lines": True,
            "sentence_lines": True,
            "mask": ["email"],
        },
        "filter": json.loads(json.dumps(dataclasses.asdict(filtered))),
        "decontaminate": {"inputs": list(everything.decontaminate.inputs)},
        "deduplicate": {"kind": "near"},
        "rows": {
            "sequence_length": 32,
            "validation_rate": OPTIONS.validation_rate,
            "num_shards": OPTIONS.num_shards,
            "group_size": OPTIONS.group_size,
        },
        "tokenizer": tokenizer_directory,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return lambda name: ["prepare", str(path), "--output", str(folder / name)]


@pytest.fixture(scope="module")
def dataset_sha256(words: Callable[[str], list[str]]) -> str:
    """What a build of those words in this process gives."""
    place = words("in this process")
    assert main(place) == 0
    return read_manifest(place[-1]).dataset_sha256
