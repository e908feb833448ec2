"""Batch builds on real engines: the dataset of the in-process build, whatever is killed on the way."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from flink_cluster import FlinkCluster, WorkerPools
from processes import free_ports
from whole_graph import OPTIONS

from clozekit.pipelines.prepare import prepare, prepare_lengths
from clozekit.pipelines.running import server_options
from clozekit.pipelines.running.runners import runner_options
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.tokenizers.common.errors import InputError

LENGTHS = (32, 64)
_WAIT_SECONDS = 300
Build = Callable[[str, str, Sequence[str]], Mapping[str, tuple[str, dict[str, int]]]]


@pytest.fixture(scope="module")
def build(
    web: ReadSettings, everything: CorpusSettings, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """Every stage and two lengths: length -> sha256 and counts."""
    folder = tmp_path_factory.mktemp("built")

    def run(name: str, runner: str, arguments: Sequence[str]) -> Mapping[str, tuple[str, dict[str, int]]]:
        results = prepare_lengths(
            web,
            OPTIONS,
            LENGTHS,
            tokenizer_directory,
            str(folder / name),
            runner=runner,
            beam_arguments=arguments,
            corpus=everything,
        )
        return {Path(place).name: (made.dataset_sha256, dict(made.counts)) for place, (made, _) in results.items()}

    return run


@pytest.fixture(scope="module")
def expected(build: Build) -> Mapping[str, tuple[str, dict[str, int]]]:
    found = build("in this process", "FnApiRunner", [])
    assert set(found) == {str(length) for length in LENGTHS}
    return found


def test_prism_gives_the_same_datasets(build: Build, expected: object, prism_program: Path) -> None:
    assert build("prism", "PrismRunner", [f"--prism_location={prism_program}"]) == expected


Flink = tuple[FlinkCluster, WorkerPools]


def test_a_flink_cluster_gives_the_same_datasets(
    build: Build, expected: object, flink: Flink, flink_arguments: list[str]
) -> None:
    cluster, _ = flink
    # An option that only the job server knows.
    assert build("flink", "FlinkRunner", [*flink_arguments, "--checkpointing_interval=60000"]) == expected
    assert cluster.states() == ["FINISHED"]


@contextmanager
def killed_mid_run(cluster: FlinkCluster, kill: Callable[[], None]) -> Iterator[None]:
    """Kills when a tenth of the tasks of the job that the block starts have ended; the block must not end before."""
    before, failures = {job["jid"] for job in cluster.jobs()}, []

    def watch() -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            for job in cluster.jobs():
                # A job that is being made has no tasks yet.
                if job["jid"] not in before and 0 < job["tasks"]["total"] <= 10 * job["tasks"]["finished"]:
                    if job["state"] != "RUNNING":
                        failures.append(f"the job is {job['state']} already")
                    kill()
                    return
            time.sleep(0.05)
        failures.append("the job never came so far")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join()
    assert failures == []


def test_a_killed_task_manager_changes_nothing(
    build: Build, expected: object, flink: Flink, flink_arguments: list[str]
) -> None:
    cluster, _ = flink
    with killed_mid_run(cluster, cluster.task_managers[0].kill):
        found = build("task manager killed", "FlinkRunner", flink_arguments)
    assert found == expected
    cluster.add_task_manager()
    cluster.wait_for_task_managers(2)


def test_a_killed_worker_pool_costs_at_most_a_second_run(
    build: Build, expected: object, flink: Flink, flink_arguments: list[str]
) -> None:
    cluster, pools = flink
    with killed_mid_run(cluster, pools.pools[0].kill):
        try:
            found = build("worker pool killed", "FlinkRunner", flink_arguments)
        except ChildProcessError as error:
            assert "run the same command again" in str(error)
            found = build("worker pool killed", "FlinkRunner", flink_arguments)
    assert found == expected


def test_bad_input_arrives_in_one_line(flink_arguments: list[str], tokenizer_directory: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "the cat"}\n{cut\n', encoding="utf-8")
    out = str(tmp_path / "out")
    with pytest.raises(InputError) as caught:
        prepare(ReadSettings((str(path),)), OPTIONS, tokenizer_directory, out, "FlinkRunner", 1, flink_arguments)
    assert str(caught.value).startswith("at most 0 of all records may be bad (--max-bad-rate), 1 of 2 are")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["by a server that runs", "by its jar"])
def test_options_are_those_of_the_job_server(how: str, flink_arguments: list[str], flink_job_server: Path) -> None:
    named = flink_arguments if how == "by a server that runs" else [f"--flink_job_server_jar={flink_job_server}"]
    runner_options("FlinkRunner", 1, [*named, "--checkpointing_interval=5000", "--object_reuse"])
    for wrong, message in (
        ("--checkpointing_intervall=5", "it does not know --checkpointing_intervall=5$"),
        ("--checkpointing_interval=often", "--checkpointing_interval: invalid int value: 'often'$"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            runner_options("FlinkRunner", 1, [*named, wrong])
        assert "\n" not in str(caught.value)


def test_a_job_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_options, "_ANSWER_SECONDS", 0.1)
    (port,) = free_ports(1)
    with pytest.raises(InputError, match="the runner's job server must answer") as caught:
        runner_options("FlinkRunner", 1, [f"--job_endpoint=localhost:{port}", "--checkpointing_interval=5000"])
    assert "\n" not in str(caught.value)
