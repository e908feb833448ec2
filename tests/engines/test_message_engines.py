"""Stage A follows Kafka on Flink and Prism: whatever is killed, the embedded driver's fragments, each message in exactly one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from engine_messages import FIRST_WINDOW, WINDOW, message, recipe_of, running, wait_for_documents
from flink_cluster import FlinkCluster, WorkerPools
from kafka_broker import KafkaBroker
from streams import total_counts

from clozekit.pipelines.dataset.chain import Fragment, read_chain
from clozekit.pipelines.settings.stream_recipe import StreamRecipe
from clozekit.pipelines.streaming.follow_recipe import follow
from clozekit.pipelines.streaming.verify_stream import verify_stream

PARTITIONS, A_WINDOW = 3, 120
CHECKPOINTS = [
    "--checkpointing_interval=1000",
    "--finish_bundle_before_checkpointing",
    # The options of the cluster keep workers for a minute.
    "--environment_cache_millis=0",
]


@pytest.fixture(scope="module")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    one = KafkaBroker(kafka_jars, tmp_path_factory.mktemp("kafka"))
    yield one
    one.kill()


def send(broker: KafkaBroker, topic: str, windows: Sequence[int]) -> None:
    """The documents of some windows, in their order in each partition."""
    producer = Producer({"bootstrap.servers": broker.address})
    for window in windows:
        for number in range(A_WINDOW * window, A_WINDOW * (window + 1)):
            producer.produce(topic, message(number, window), partition=number % PARTITIONS)
    assert producer.flush(60) == 0


def kafka_recipe(broker: KafkaBroker, topic: str, tokenizer_directory: str, output: Path) -> StreamRecipe:
    source = {"kind": "kafka", "brokers": [broker.address], "topics": [topic], "group": output.name}
    return recipe_of(source, tokenizer_directory, output)


def told(fragments: Sequence[Fragment]) -> list[tuple[int, str, int, dict[str, list[str]]]]:
    """Of each fragment its window, timing, documents, and the sha256 of its shards."""
    return [
        (
            (fragment.window_start - FIRST_WINDOW) // WINDOW,
            fragment.timing,
            fragment.counts["documents_in"],
            {name: [shard.sha256 for shard in split.shards] for name, split in fragment.splits.items()},
        )
        for fragment in fragments
    ]


def followed(recipe: StreamRecipe, windows: int) -> list[Fragment]:
    """Those of so many windows, by the embedded driver."""
    follow(recipe, is_stopped=lambda: total_counts(recipe.output)["documents_in"] >= A_WINDOW * windows)
    return list(read_chain(recipe.output))[:windows]


def test_prism_follows_what_does_not_end(
    prism_program: Path, broker: KafkaBroker, tokenizer_directory: str, tmp_path: Path
) -> None:
    """Behind each wait the reader stands with nothing to read, which is when Prism would have it split."""
    recipe = kafka_recipe(broker, "endless", tokenizer_directory, tmp_path / "engine")
    send(broker, "endless", [0])
    # A Prism of its own, which the fixture of job servers ends.
    prism = [f"--prism_location={prism_program}", "--experiments=disable_prism_server_singleton"]
    with running(recipe, "PrismRunner", prism) as job:
        for window in range(1, 6):
            send(broker, "endless", [window])
            # Of the newest window more may come.
            fragments = wait_for_documents(recipe, window * A_WINDOW)
        job.cancel()
    other = kafka_recipe(broker, "endless", tokenizer_directory, tmp_path / "followed")
    assert told(fragments) == told(followed(other, 5))
    assert verify_stream(recipe.output).problems == ()


def test_flink_survives_the_death_of_each_of_its_parts(
    flink_that_keeps_jobs: tuple[FlinkCluster, WorkerPools, list[str]],
    broker: KafkaBroker,
    tokenizer_directory: str,
    tmp_path: Path,
) -> None:
    cluster, pools, arguments = flink_that_keeps_jobs
    recipe = kafka_recipe(broker, "kills", tokenizer_directory, tmp_path / "engine")
    send(broker, "kills", range(3))
    with running(recipe, "FlinkRunner", [*arguments, *CHECKPOINTS]):
        # Of the newest window more may come.
        wait_for_documents(recipe, 2 * A_WINDOW)
        # All workers, those of the one that reads and of the one that waits.
        pools.restart()
        send(broker, "kills", range(3, 5))
        wait_for_documents(recipe, 4 * A_WINDOW)
        assert cluster.failures() > 0
        cluster.task_managers[0].kill()
        cluster.add_task_manager()
        send(broker, "kills", range(5, 7))
        wait_for_documents(recipe, 6 * A_WINDOW)
        cluster.job_manager.kill()
        send(broker, "kills", range(7, 9))
        cluster.start_job_manager()
        fragments = wait_for_documents(recipe, 8 * A_WINDOW)
    other = kafka_recipe(broker, "kills", tokenizer_directory, tmp_path / "followed")
    assert told(fragments) == told(followed(other, 8))
    assert [fragment.timing for fragment in fragments] == ["on_time"] * 8
    assert verify_stream(recipe.output).problems == ()


def test_a_stream_on_flink_goes_on_from_a_savepoint(
    flink: tuple[FlinkCluster, WorkerPools],
    flink_arguments: list[str],
    broker: KafkaBroker,
    tokenizer_directory: str,
    tmp_path: Path,
) -> None:
    cluster, _ = flink
    arguments = [*flink_arguments, *CHECKPOINTS]
    recipe = kafka_recipe(broker, "savepoint", tokenizer_directory, tmp_path / "engine")
    send(broker, "savepoint", range(3))
    with running(recipe, "FlinkRunner", arguments):
        wait_for_documents(recipe, 2 * A_WINDOW)
        (job,) = [one["jid"] for one in cluster.jobs() if one["state"] == "RUNNING"]
        savepoint = cluster.stop_with_savepoint(job, tmp_path / "savepoints")
    send(broker, "savepoint", range(3, 5))
    with running(recipe, "FlinkRunner", [*arguments, f"--savepoint_path={savepoint}"]):
        fragments = wait_for_documents(recipe, 4 * A_WINDOW)
    other = kafka_recipe(broker, "savepoint", tokenizer_directory, tmp_path / "followed")
    assert told(fragments) == told(followed(other, 4))
    # It began behind what it had read, the open window with it.
    assert all(fragment.counts["redelivered"] == 0 for fragment in fragments)
    assert verify_stream(recipe.output).problems == ()
