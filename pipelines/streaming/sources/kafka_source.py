"""Kafka: every partition of some topics, from the offsets that the chain holds; a group is told of them, for tools alone.

The first time a partition is read from its beginning, and so is one that was added since, at the next start. Where what is next
was removed from Kafka meanwhile, reading stops with an error instead of passing over it.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark
from apache_beam.utils.timestamp import Timestamp
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.message_source import MessageSource
from clozekit.pipelines.streaming.sources.message_watermark import MessageWatermark
from clozekit.pipelines.streaming.sources.stream_source import Position, StreamReader
from clozekit.tokenizers.common.errors import InputError

# Topic -> partition -> the offset of the next message.
Offsets = Mapping[str, Mapping[int, int]]
_MAX_MESSAGES = 500
# How long to wait for a first message, and for an answer of the brokers.
_POLL_SECONDS, _ANSWER_SECONDS = 0.2, 10.0
# The client needs one, even when no offsets are told to it.
_NO_GROUP = "clozekit"


class KafkaMark(CheckpointMark):
    """The offsets behind what was read."""

    def __init__(self, offsets: Offsets, consumer: Consumer | None = None) -> None:
        self.offsets = offsets
        self._consumer = consumer

    def finalize_checkpoint(self) -> None:
        """Tells the group, when there is one. Doing it twice is doing it once."""
        places = [
            TopicPartition(topic, partition, offset)
            for topic, partitions in self.offsets.items()
            for partition, offset in partitions.items()
        ]
        if self._consumer is not None and places:
            try:
                self._consumer.commit(offsets=places, asynchronous=False)
            except KafkaException as error:
                raise _unreachable("take the offsets of the group", error) from error


class KafkaMarkCoder(coders.Coder):
    def encode(self, value: KafkaMark) -> bytes:
        return json.dumps(value.offsets, sort_keys=True).encode()

    def decode(self, encoded: bytes) -> KafkaMark:
        return KafkaMark(_offsets_of(json.loads(encoded)))

    def is_deterministic(self) -> bool:
        return True


class KafkaSource(MessageSource):
    """Messages of topics."""

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> "KafkaReader":
        return KafkaReader(self, checkpoint_mark.offsets if isinstance(checkpoint_mark, KafkaMark) else {})

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return KafkaMarkCoder()

    def position_of(self, mark: CheckpointMark) -> Position:
        return Position(mark.offsets if isinstance(mark, KafkaMark) else None)

    def mark_of(self, position: Any, is_finished: Callable[[str], bool]) -> KafkaMark | None:
        return None if position is None else KafkaMark(_offsets_of(position))


class KafkaReader(StreamReader):
    """Reads what the partitions have, each in its order."""

    def __init__(self, source: KafkaSource, offsets: Offsets) -> None:
        self._source = source
        settings = source.settings
        self._consumer = Consumer(
            {
                **settings.options,
                "bootstrap.servers": ",".join(settings.brokers),
                "group.id": settings.group or _NO_GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # What was removed is lost: that is said, not passed over.
                "auto.offset.reset": "error",
            }
        )
        self._next = {topic: dict(offsets.get(topic, {})) for topic in settings.topics}
        self._watermarks: dict[tuple[str, int], MessageWatermark] = {}
        self._waiting: deque[tuple[str, int, int, Delivered]] = deque()

    def start(self) -> bool:
        try:
            known = self._consumer.list_topics(timeout=_ANSWER_SECONDS).topics
        except KafkaException as error:
            raise _unreachable("be reached", error) from error
        places = []
        for topic in self._source.settings.topics:
            if topic not in known or known[topic].error is not None:
                raise InputError(
                    f"every topic must exist, the brokers do not know {topic}; correct source.topics, or make the topic"
                )
            for partition in sorted(known[topic].partitions):
                offset = self._next[topic].get(partition, OFFSET_BEGINNING)
                places.append(TopicPartition(topic, partition, offset))
                self._watermarks[topic, partition] = self._source.watermark()
        self._consumer.assign(places)
        return self.advance()

    def advance(self) -> bool:
        self._current = None
        if not self._waiting:
            self._poll()
        if not self._waiting:
            return False
        topic, partition, offset, self._current = self._waiting.popleft()
        self._next[topic][partition] = offset + 1
        self._watermarks[topic, partition].saw(self._current.event_time)
        return True

    def _poll(self) -> None:
        for message in self._consumer.consume(_MAX_MESSAGES, _POLL_SECONDS):
            error = message.error()
            if error is None:
                self._waiting.append(self._taken(message))
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise InputError(
                    f"what was not read yet must still be in Kafka, it is not ({' '.join(str(error).split()):.200}): the topic"
                    " keeps messages for too short a time, or was made again; begin another stream"
                )
            elif error.fatal() or not error.retriable():
                raise _unreachable("be read", KafkaException(error))

    def _taken(self, message: Message) -> tuple[str, int, int, Delivered]:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        headers = {name: value.decode(errors="replace") for name, value in message.headers() or () if value is not None}
        now = self._source.now()
        kind, published = message.timestamp()
        delivered = self._source.format.delivered(
            message.value() or b"",
            f"kafka/{topic}/{partition}/{offset}",
            published if kind else int(now * 1000),
            headers,
            now,
        )
        return topic, partition, offset, delivered

    def get_watermark(self) -> Timestamp:
        """Of the partition that is furthest behind; one where nothing comes goes with the clock."""
        waiting: dict[tuple[str, int], int] = {}
        for topic, partition, _, delivered in self._waiting:
            waiting.setdefault((topic, partition), delivered.event_time)
        return min(mark.at(waiting.get(place)) for place, mark in self._watermarks.items())

    def get_checkpoint_mark(self) -> KafkaMark:
        offsets = {topic: dict(partitions) for topic, partitions in self._next.items()}
        return KafkaMark(offsets, self._consumer if self._source.settings.group else None)

    def close(self) -> None:
        self._consumer.close()


def _offsets_of(fields: Any) -> dict[str, dict[int, int]]:
    """Keys of JSON are text."""
    return {
        topic: {int(partition): offset for partition, offset in partitions.items()}
        for topic, partitions in fields.items()
    }


def _unreachable(what: str, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"Kafka must {what}, it could not ({' '.join(str(error).split()):.200}); look at source.brokers and its options, and"
        " run it again: nothing is lost"
    )
