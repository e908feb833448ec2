"""What Kafka and Pub/Sub give through the embedded driver, and Kafka through stage A on Flink: documents a second, and lag.

A backlog is read first, then documents that are sent at a steady rate, in windows of five seconds; halfway the consumer is
killed (the driver's process, a TaskManager) and started again. Lag: from the end of a window to its fragment.

    python tests/benchmarks/messages_benchmark.py
    python tests/benchmarks/messages_benchmark.py --only pubsub
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before this folder, which has a module `processes` of its own.
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import engine_parts
from confluent_kafka import Producer
from engine_messages import running
from flink_cluster import flink_cluster, job_server, options_of
from google.cloud import pubsub_v1
from kafka_broker import KafkaBroker
from pubsub_server import built, pubsub_server
from streams import total_counts

from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.settings.stream_recipe import StreamRecipe, make_stream_recipe
from clozekit.pipelines.streaming.follow_recipe import follow
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

WINDOW, WORDS = 5, "the old cat sat on the mat and the dog ran under a tree near my house"
CHECKPOINTS = ["--checkpointing_interval=2000", "--finish_bundle_before_checkpointing", "--environment_cache_millis=0"]


def tokenizer_in(folder: Path) -> str:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *sorted(set(WORDS.split()))]
    BertTokenizer(pieces, lowercase=True).save(folder / "tokenizer")
    return str(folder / "tokenizer")


@dataclass(frozen=True)
class Topic:
    """source: what a recipe has; give: one message, which is on its way then; flush: until all have arrived."""

    source: dict[str, Any]
    give: Callable[[bytes], object]
    flush: Callable[[], object]

    def send(self, numbers: Sequence[int], rate: float) -> None:
        """Documents of about 200 words, `rate` a second; 0: as fast as it goes."""
        begun = time.monotonic()
        for sent, number in enumerate(numbers):
            self.give(json.dumps({"id": str(number), "text": f"{WORDS} . " * 12}).encode())
            if rate and (ahead := sent / rate - (time.monotonic() - begun)) > 0:
                self.flush()
                time.sleep(ahead)
        self.flush()


@contextmanager
def kafka(folder: Path) -> Iterator[Topic]:
    broker = KafkaBroker(engine_parts.kafka(), folder)
    try:
        producer = Producer({"bootstrap.servers": broker.address, "queue.buffering.max.messages": 1_000_000})
        source = {"kind": "kafka", "brokers": [broker.address], "topics": ["documents"]}
        yield Topic(source, lambda message: producer.produce("documents", message), producer.flush)
    finally:
        broker.kill()


@contextmanager
def pubsub(folder: Path) -> Iterator[Topic]:
    """Google's fake. A killed consumer's messages come again when their lease ends: the shortest there is."""
    topic, subscription = "projects/my-project/topics/documents", "projects/my-project/subscriptions/documents"
    with pubsub_server(built(folder)) as server:
        os.environ["PUBSUB_EMULATOR_HOST"] = server.address
        publisher, given = pubsub_v1.PublisherClient(), list[Any]()
        publisher.create_topic(name=topic)
        with pubsub_v1.SubscriberClient() as subscriber:
            subscriber.create_subscription(name=subscription, topic=topic)

        def flush() -> None:
            while given:
                given.pop().result()

        source = {"kind": "pubsub", "subscription": subscription, "lease_seconds": 10}
        try:
            yield Topic(source, lambda message: given.append(publisher.publish(topic, message)), flush)
        finally:
            publisher.stop()


def recipe_of(topic: Topic, tokenizer: str, output: Path) -> StreamRecipe:
    source = {**topic.source, "idle_seconds": 1, "disorder_seconds": 0}
    fields = {"tokenizer": tokenizer, "output": str(output), "source": source, "rows": {"sequence_length": 128}}
    return make_stream_recipe({**fields, "stream": {"window_seconds": WINDOW, "poll_seconds": 0.2}}, "the recipe")


def measured(topic: Topic, recipe: StreamRecipe, backlog: int, live: int, rate: int, kill: Callable[[], None]) -> str:
    """The consumer runs; `live` documents are sent twice, and it is killed in the midst of the second time."""
    begun = time.monotonic()
    wait_for(recipe, 1)
    first = time.monotonic() - begun
    wait_for(recipe, backlog)
    spent = time.monotonic() - begun
    cells = [f"{first:.0f}", f"{backlog / spent:,.0f}"]
    sent = backlog
    for is_killed in (False, True):
        since, seen = time.time(), {}
        numbers = range(sent, sent + live)
        sender = threading.Thread(target=topic.send, args=(numbers, rate))
        sender.start()
        if is_killed:
            time.sleep(live / rate / 2)
            kill()
        sent += live
        wait_for(recipe, sent, seen)
        sender.join()
        lags = sorted(at - end for end, at in seen.items() if end > since)
        cells += [f"{statistics.median(lags):.1f}", f"{lags[-1]:.1f}"]
    if (found := total_counts(recipe.output)["documents_in"]) != sent:
        raise ValueError(f"{sent} documents were sent, {found} are in fragments")
    return " | ".join(cells)


def wait_for(recipe: StreamRecipe, number: int, seen: dict[int, float] | None = None) -> None:
    """Until so many documents are in the chain. seen: gets, by the end of each window, when its first fragment was there."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if Path(recipe.output, "stream.json").exists():
            if seen is not None:
                for fragment in read_chain(recipe.output):
                    seen.setdefault(fragment.window_end, time.time())
            if total_counts(recipe.output)["documents_in"] >= number:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{total_counts(recipe.output)['documents_in']} of {number} documents came")


def with_driver(topic: Topic, recipe: StreamRecipe, folder: Path, *of_load: int) -> str:
    context = multiprocessing.get_context("spawn")
    processes = []

    def start() -> None:
        processes.append(context.Process(target=follow, args=(recipe,)))
        processes[-1].start()

    def kill() -> None:
        processes[-1].kill()
        processes[-1].join()
        start()

    start()
    try:
        return measured(topic, recipe, *of_load, kill)  # type: ignore[call-arg,arg-type]
    finally:
        processes[-1].kill()


def with_flink(topic: Topic, recipe: StreamRecipe, folder: Path, *of_load: int) -> str:
    jars, jar = engine_parts.flink(), engine_parts.flink_job_server()
    with ExitStack() as stack:
        cluster, pools = stack.enter_context(flink_cluster(jars, jar, folder))
        endpoint = stack.enter_context(job_server(jar, folder, cluster.master))

        def kill() -> None:
            cluster.task_managers[0].kill()
            cluster.add_task_manager()

        stack.enter_context(running(recipe, "FlinkRunner", [*options_of(cluster, pools, endpoint), *CHECKPOINTS]))
        return measured(topic, recipe, *of_load, kill)  # type: ignore[call-arg,arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=4_000)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--only", choices=RUNS)
    arguments = parser.parse_args()
    load = (arguments.backlog, arguments.live, arguments.rate)
    head = ("", "first fragment, s", "backlog, documents/s", "lag, s", "worst", "with a kill, s", "worst")
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * 6}")
    with tempfile.TemporaryDirectory() as place:
        tokenizer = tokenizer_in(Path(place))
        for name in RUNS if arguments.only is None else [arguments.only]:
            of_topic, consumer = RUNS[name]
            folder = Path(place, name)
            folder.mkdir()
            with of_topic(folder) as topic:
                topic.send(range(arguments.backlog), 0)
                row = consumer(topic, recipe_of(topic, tokenizer, folder / "stream"), folder, *load)
            print(f"| {name} | {row} |", flush=True)


RUNS = {"kafka": (kafka, with_driver), "flink": (kafka, with_flink), "pubsub": (pubsub, with_driver)}


if __name__ == "__main__":
    main()
