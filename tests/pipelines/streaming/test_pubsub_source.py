"""Pub/Sub with Google's own client and fake: what is committed is acknowledged, and nothing is lost or doubled by kills."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1
from helper_folder import HELPERS
from processes import started
from pubsub_server import PubSubServer, built, pubsub_server
from streams import rows_of, total_counts

from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.pubsub_source import PubSubMarkCoder, PubSubReader, PubSubSource
from clozekit.pipelines.streaming.verify_stream import verify_stream

pytestmark = pytest.mark.slow
TOPIC, SUBSCRIPTION = "projects/p/topics/t", "projects/p/subscriptions/s"
NOW = 1_764_400_000
READING = ReadSettings(("pubsub",))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("pstest"))


@pytest.fixture
def server(program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubServer]:
    with pubsub_server(program) as running:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running.address)
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        publisher.create_topic(name=TOPIC)
        with subscriber:
            subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)
        yield running


def publish(*messages: bytes, **attributes: str) -> list[str]:
    """Their ids."""
    publisher = pubsub_v1.PublisherClient()
    found = [publisher.publish(TOPIC, message, **attributes).result() for message in messages]
    publisher.stop()
    return found


def message(number: int, **fields: Any) -> bytes:
    return json.dumps({"id": f"doc-{number}", "text": f"the cat {number}", **fields}).encode()


def reader(settings: SourceSettings | None = None, now: float | None = None) -> PubSubReader:
    source = PubSubSource(
        settings or SourceSettings("pubsub", subscription=SUBSCRIPTION),
        READING,
        time.time if now is None else lambda: now,
    )
    return source.create_reader(None, None)


def read_all(open_reader: PubSubReader) -> list[Delivered]:
    found = []
    while open_reader.advance():
        found.append(open_reader.get_current())
    return sorted(found, key=lambda one: one.origin)


def test_messages_become_documents_with_their_event_times(server: PubSubServer) -> None:
    ids = publish(
        message(0, at="2025-11-29T06:00:00Z"),
        message(1, at=NOW - 60),
        json.dumps({"text": "without an id", "at": (NOW - 30) * 1000}).encode(),
    )
    ids += publish(message(3), at=str(NOW - 5))
    settings = SourceSettings("pubsub", subscription=SUBSCRIPTION, time_key="at")
    one = reader(settings, NOW)
    found = {record.origin: (record.event_time // 1000, record.record) for record in read_all(one)}
    assert found == {
        f"pubsub/{SUBSCRIPTION}/{ids[0]}": (1_764_396_000, Document("doc-0", "the cat 0")),
        f"pubsub/{SUBSCRIPTION}/{ids[1]}": (NOW - 60, Document("doc-1", "the cat 1")),
        f"pubsub/{SUBSCRIPTION}/{ids[2]}": (NOW - 30, Document(None, "without an id")),
        f"pubsub/{SUBSCRIPTION}/{ids[3]}": (NOW - 5, Document("doc-3", "the cat 3")),
    }
    # Ten seconds behind the newest.
    assert one.get_watermark().micros // 1_000_000 == NOW - 15
    one.close()


def test_bad_messages_are_dead_letters_with_their_ids(server: PubSubServer) -> None:
    bad = [b"{cut", b'{"id": "a"}', message(1, at="yesterday"), message(2, at=NOW + 90_000), message(3, at=[1])]
    ids = publish(*bad)
    one = reader(SourceSettings("pubsub", subscription=SUBSCRIPTION, time_key="at"), NOW)
    found = {record.origin: record.record for record in read_all(one)}
    assert set(found) == {f"pubsub/{SUBSCRIPTION}/{number}" for number in ids}
    reasons = [found[f"pubsub/{SUBSCRIPTION}/{number}"] for number in ids]
    for reason, words in zip(
        reasons,
        (
            "must be one JSON object",
            "must hold text under 'text'",
            "must be ISO 8601",
            "a day ahead of the clock",
            "a list",
        ),
        strict=True,
    ):
        assert isinstance(reason, DeadLetter)
        assert words in reason.reason
    one.close()


def test_what_a_mark_covers_is_acknowledged_and_nothing_else(server: PubSubServer) -> None:
    publish(*(message(number) for number in range(10)))
    one = reader()
    for _ in range(6):
        assert one.advance()
    mark = one.get_checkpoint_mark()
    rest = read_all(one)
    mark.finalize_checkpoint()
    mark.finalize_checkpoint()
    one.close()
    server.put_ahead(120)
    other = reader()
    assert read_all(other) == rest
    # As an engine keeps it.
    coder = PubSubMarkCoder()
    coder.decode(coder.encode(other.get_checkpoint_mark())).finalize_checkpoint()
    other.close()
    server.put_ahead(240)
    last = reader()
    assert read_all(last) == []
    last.close()


def test_leases_are_renewed_while_a_window_is_open(server: PubSubServer) -> None:
    publish(message(0))
    one = reader(SourceSettings("pubsub", subscription=SUBSCRIPTION, lease_seconds=60))
    assert len(read_all(one)) == 1
    # Of the subscription it would be ten seconds.
    server.put_ahead(40)
    assert not one.advance()
    server.put_ahead(80)
    assert one.advance()
    one.close()


@pytest.mark.parametrize("moment", ["freeze", "fragment", "commit", "acknowledge"])
def test_killed_and_delivered_again_nothing_is_lost_and_nothing_doubled(
    moment: str, server: PubSubServer, tmp_path: Path, tokenizer_directory: str
) -> None:
    publish(*(message(number, text="the old cat sat on the mat . " * (1 + number)) for number in range(40)), b"no JSON")
    recipe = tmp_path / "recipe.json"
    fields = {
        "tokenizer": tokenizer_directory,
        "output": str(tmp_path / "stream"),
        "source": {"kind": "pubsub", "subscription": SUBSCRIPTION, "lease_seconds": 10, "idle_seconds": 0},
        "deduplicate": {"kind": "exact"},
        "rows": {"sequence_length": 32},
        "stream": {"window_seconds": 1, "max_pane_mb": 0.004},
    }
    recipe.write_text(json.dumps(fields), encoding="utf-8")
    script = str(HELPERS / "follow_messages.py")
    with started(script, str(recipe), "41", moment) as child:
        assert child.ended() == -9, child.output()
    # All that was not acknowledged comes again; a pane of the same is the same, and what is in others is known.
    server.put_ahead(60)
    with started(script, str(recipe), "41", "never") as child:
        assert child.ended() == 0, child.output()
    counts = total_counts(tmp_path / "stream")
    kept = counts["documents_train"] + counts["documents_validation"]
    assert (counts["documents_in"], kept, counts["dead_lettered"]) == (41, 40, 1)
    assert verify_stream(str(tmp_path / "stream")).problems == ()
    assert len(list(read_chain(str(tmp_path / "stream")))) > 1
    assert rows_of(tmp_path / "stream", "train")
    server.put_ahead(120)
    last = reader()
    assert read_all(last) == []
    last.close()
