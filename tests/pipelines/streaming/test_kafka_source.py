"""Kafka against the mock cluster that its client brings, a stand-in that speaks the protocol: offsets go on where they were."""

import json
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition

from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.kafka_source import KafkaMark, KafkaMarkCoder, KafkaReader, KafkaSource
from clozekit.tokenizers.common.errors import InputError

pytestmark = pytest.mark.slow
NOW = 1_764_400_000
# The mock cluster makes topics of four partitions.
EXPECTED = sorted([*(f"kafka/t/{number % 2}/{number // 2}" for number in range(20)), "kafka/t/2/0"])


@pytest.fixture
def broker() -> Iterator[str]:
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    for number in range(20):
        value = json.dumps({"id": f"doc-{number}", "text": f"the cat {number}"}).encode()
        producer.produce("t", value, partition=number % 2, headers={"at": str(NOW + number)})
    producer.produce("t", b"no JSON", partition=2)
    assert producer.flush(30) == 0
    (one,) = producer.list_topics(timeout=30).brokers.values()
    yield f"{one.host}:{one.port}"
    # The cluster goes with its producer.
    del producer


def source(broker: str, **fields: object) -> KafkaSource:
    made = {"brokers": (broker,), "topics": ("t",), "time_key": "at", "group": "lag", **fields}
    return KafkaSource(SourceSettings("kafka", **made), ReadSettings(("kafka",)), lambda: NOW + 100)  # type: ignore[arg-type]


def read(reader: KafkaReader, count: int, is_there: bool) -> list[Delivered]:
    """`count` records; a partition may need several polls."""
    found: list[Delivered] = []
    for _ in range(200):
        if is_there:
            found.append(reader.get_current())
        if len(found) == count:
            return found
        is_there = reader.advance()
    raise TimeoutError(f"{len(found)} of {count} came")


def test_a_restart_goes_on_from_the_offsets_of_the_chain_and_the_group_knows_them(broker: str) -> None:
    followed = source(broker)
    reader = followed.create_reader(None, None)
    first = read(reader, 12, reader.start())
    mark = reader.get_checkpoint_mark()
    assert sum(mark.offsets["t"].values()) == 12
    mark.finalize_checkpoint()
    mark.finalize_checkpoint()
    places = [TopicPartition("t", partition) for partition in mark.offsets["t"]]
    told = reader._consumer.committed(places, timeout=30)
    assert {one.partition: one.offset for one in told} == mark.offsets["t"]
    reader.close()
    # As a fragment keeps it, and as an engine does.
    position = json.loads(json.dumps(followed.position_of(mark).position))
    coder = KafkaMarkCoder()
    for kept in (followed.mark_of(position, lambda _: False), coder.decode(coder.encode(mark))):
        assert isinstance(kept, KafkaMark)
        again = followed.create_reader(None, kept)
        rest = read(again, 9, again.start())
        assert not again.advance()
        assert sorted(one.origin for one in [*first, *rest]) == EXPECTED
        again.close()
    bad = [one for one in [*first, *rest] if one.origin == "kafka/t/2/0"]
    assert [getattr(one.record, "stage", "") for one in bad] == ["read"]


def test_event_times_are_those_of_headers_and_idle_partitions_go_with_the_clock(broker: str) -> None:
    reader = source(broker, disorder_seconds=0, idle_seconds=0).create_reader(None, None)
    found = {one.origin: one.event_time for one in read(reader, 21, reader.start())}
    assert [found[f"kafka/t/1/{offset}"] // 1000 for offset in range(10)] == [NOW + 1 + 2 * each for each in range(10)]
    assert reader.get_watermark().micros == (NOW + 100) * 1_000_000
    reader.close()
    waiting = source(broker, idle_seconds=3600).create_reader(None, None)
    read(waiting, 21, waiting.start())
    # The last partition has given nothing, and nobody knows what it will.
    assert waiting.get_watermark().micros < 0
    waiting.close()


def test_offsets_that_kafka_no_longer_has_are_an_error_and_nothing_is_passed_over(broker: str) -> None:
    reader = source(broker).create_reader(None, KafkaMark({"t": {0: 1000}}))
    with pytest.raises(InputError, match="what was not read yet must still be in Kafka"):
        read(reader, 30, reader.start())
    reader.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "kafak"}, "source.kind must be one of files, stdin, pubsub, kafka, got 'kafak'"),
        ({"kind": "pubsub"}, "a source of kind pubsub needs source.subscription, got none"),
        ({"kind": "pubsub", "subscription": "s"}, "must be projects/PROJECT/subscriptions/NAME"),
        ({"kind": "kafka", "brokers": ("a",)}, "a source of kind kafka needs source.topics"),
        ({"kind": "kafka", "brokers": ("a",), "topics": ("t",), "subscription": "s"}, "of sources of kind pubsub"),
    ],
)
def test_sources_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SourceSettings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reading", "message"),
    [({"inputs": ["a"]}, "has no inputs beside it"), ({"quoting": "none"}, "has read.quoting; leave it out")],
)
def test_a_recipe_of_messages_has_no_files(reading: dict[str, object], message: str) -> None:
    from clozekit.pipelines.settings.stream_recipe import make_stream_recipe

    section = {"kind": "kafka", "brokers": ["a:1"], "topics": ["t"], "options": {"security.protocol": "ssl"}}
    fields = {"tokenizer": "t", "output": "o", "source": section, "read": reading}
    with pytest.raises(InputError, match=message):
        make_stream_recipe(fields, "the recipe")
    made = make_stream_recipe({**fields, "source": section, "read": {"text_key": "body"}}, "the recipe")
    assert (made.reading.inputs, made.source.options["security.protocol"]) == (("kafka/t",), "ssl")
