"""What the tests on real engines share: parts that are fetched once, or the reason why they are not run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import engine_parts
import pytest
from apache_beam.runners.portability.job_server import StopOnExitJobServer
from flink_cluster import FlinkCluster, WorkerPools, flink_cluster, job_server, keeps_jobs, options_of
from whole_graph import every_stage, two_sources

from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings


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
def flink_that_keeps_jobs(flink_job_server: Path, tmp_path: Path) -> Iterator[tuple[FlinkCluster, list[str]]]:
    jars = part(engine_parts.flink)
    with ExitStack() as stack:
        more = stack.enter_context(keeps_jobs(jars, tmp_path))
        cluster, pools = stack.enter_context(flink_cluster(jars, flink_job_server, tmp_path, more=more))
        endpoint = stack.enter_context(job_server(flink_job_server, tmp_path, cluster.master))
        yield cluster, options_of(cluster, pools, endpoint)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> CorpusSettings:
    return every_stage(tmp_path_factory.mktemp("lists"))


@pytest.fixture(scope="module")
def web(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> ReadSettings:
    return two_sources(corpus, tmp_path_factory.mktemp("web"))
