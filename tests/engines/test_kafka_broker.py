"""A real Kafka broker: whatever is killed, every message is in exactly one fragment."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from helper_folder import HELPERS
from kafka_broker import KafkaBroker
from processes import started
from streams import rows_of, total_counts

from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.streaming.verify_stream import verify_stream

FOLLOW = str(HELPERS / "follow_messages.py")


@pytest.fixture(scope="module")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    one = KafkaBroker(kafka_jars, tmp_path_factory.mktemp("kafka"))
    yield one
    one.kill()


def send(broker: KafkaBroker, topic: str, numbers: range) -> None:
    """Documents, each of a length of its own, and behind them one message that is no JSON."""
    producer = Producer({"bootstrap.servers": broker.address})
    for number in numbers:
        text = "the old cat sat on the mat . " * (1 + number)
        producer.produce(topic, json.dumps({"id": f"doc-{number}", "text": text}).encode(), key=str(number).encode())
    producer.produce(topic, b"no JSON")
    assert producer.flush(60) == 0


def recipe_of(broker: KafkaBroker, topic: str, tokenizer_directory: str, folder: Path) -> tuple[Path, Path]:
    """A recipe and where its stream goes."""
    recipe, stream = folder / "recipe.json", folder / "stream"
    fields = {
        "tokenizer": tokenizer_directory,
        "output": str(stream),
        "source": {
            "kind": "kafka",
            "brokers": [broker.address],
            "topics": [topic],
            "group": f"group-{topic}",
            "idle_seconds": 0,
        },
        "deduplicate": {"kind": "exact"},
        "rows": {"sequence_length": 32},
        "stream": {"window_seconds": 1, "max_pane_mb": 0.004},
    }
    recipe.write_text(json.dumps(fields), encoding="utf-8")
    return recipe, stream


def check_all_are_there_once(stream: Path, documents: int, bad: int) -> None:
    counts = total_counts(stream)
    kept = counts["documents_train"] + counts["documents_validation"]
    assert (counts["documents_in"], kept, counts["dead_lettered"]) == (documents + bad, documents, bad)
    assert verify_stream(str(stream)).problems == ()
    assert rows_of(stream, "train")


@pytest.mark.parametrize("moment", ["freeze", "fragment", "commit", "acknowledge"])
def test_a_killed_consumer_loses_and_doubles_nothing(
    moment: str, broker: KafkaBroker, tmp_path: Path, tokenizer_directory: str
) -> None:
    send(broker, moment, range(40))
    recipe, stream = recipe_of(broker, moment, tokenizer_directory, tmp_path)
    with started(FOLLOW, str(recipe), "41", moment) as child:
        assert child.ended() == -9, child.output()
    with started(FOLLOW, str(recipe), "41", "never") as child:
        assert child.ended() == 0, child.output()
    check_all_are_there_once(stream, 40, 1)
    assert len(list(read_chain(str(stream)))) > 1


def test_a_killed_broker_loses_and_doubles_nothing(
    broker: KafkaBroker, tmp_path: Path, tokenizer_directory: str
) -> None:
    send(broker, "broker", range(20))
    recipe, stream = recipe_of(broker, "broker", tokenizer_directory, tmp_path)
    with started(FOLLOW, str(recipe), "21", "never") as child:
        assert child.ended() == 0, child.output()
    broker.kill()
    broker.start()
    send(broker, "broker", range(20, 40))
    with started(FOLLOW, str(recipe), "42", "never") as child:
        assert child.ended() == 0, child.output()
    check_all_are_there_once(stream, 40, 2)
