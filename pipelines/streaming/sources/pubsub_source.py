"""Google Cloud Pub/Sub: messages are acknowledged when the chain holds them; until then their leases are renewed.

A message that comes again, since a lease ended or an acknowledgement was lost, is known by its id and text. With the variable
PUBSUB_EMULATOR_HOST set, Google's client talks to an emulator.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark
from apache_beam.utils.timestamp import Timestamp
from google.api_core.exceptions import DeadlineExceeded, FailedPrecondition, GoogleAPICallError, RetryError
from google.cloud.pubsub_v1 import SubscriberClient

from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.message_source import MessageSource
from clozekit.pipelines.streaming.sources.stream_source import Position, StreamReader

# Pub/Sub gives at most so many at once; a request may have 512 KiB, an acknowledgement id takes about 200 bytes.
_MAX_MESSAGES = 1000
# How long a pull waits for a first message; the reader must not block for long.
_PULL_SECONDS = 1.0


class PubSubMark(CheckpointMark):
    """What was read since the mark before, to be acknowledged. Doing it twice is doing it once."""

    def __init__(self, subscription: str, ack_ids: tuple[str, ...], leases: "_Leases | None" = None) -> None:
        self.subscription = subscription
        self.ack_ids = ack_ids
        self._leases = leases

    def finalize_checkpoint(self) -> None:
        if not self.ack_ids:
            return
        if self._leases is not None:
            self._leases.acknowledge(self.ack_ids)
            return
        # A mark that an engine has kept, without its reader.
        with SubscriberClient() as client:
            _Leases(client, self.subscription, 10, time.monotonic).acknowledge(self.ack_ids)


class PubSubMarkCoder(coders.Coder):
    def encode(self, value: PubSubMark) -> bytes:
        return json.dumps([value.subscription, *value.ack_ids]).encode()

    def decode(self, encoded: bytes) -> PubSubMark:
        subscription, *ack_ids = json.loads(encoded)
        return PubSubMark(subscription, tuple(ack_ids))

    def is_deterministic(self) -> bool:
        return True


class PubSubSource(MessageSource):
    """Messages of a subscription."""

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> "PubSubReader":
        return PubSubReader(self)

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return PubSubMarkCoder()

    def position_of(self, mark: CheckpointMark) -> Position:
        """Pub/Sub itself knows what is not acknowledged."""
        return Position(None)

    def mark_of(self, position: Any, is_finished: Callable[[str], bool]) -> None:
        return None


class PubSubReader(StreamReader):
    """Pulls what is there, gives it by its event times, and keeps the leases of all that is not acknowledged."""

    def __init__(self, source: PubSubSource) -> None:
        self._source = source
        settings = source.settings
        self._subscription = settings.subscription
        self._client = SubscriberClient()
        self._leases = _Leases(self._client, settings.subscription, settings.lease_seconds, time.monotonic)
        self._watermark = source.watermark()
        self._waiting: deque[tuple[str, Delivered]] = deque()
        self._given: list[str] = []

    def advance(self) -> bool:
        self._current = None
        self._leases.renew()
        if not self._waiting:
            self._pull()
        if not self._waiting:
            return False
        ack_id, self._current = self._waiting.popleft()
        self._given.append(ack_id)
        self._watermark.saw(self._current.event_time)
        return True

    def _pull(self) -> None:
        try:
            answer = self._client.pull(
                subscription=self._subscription, max_messages=_MAX_MESSAGES, timeout=_PULL_SECONDS
            )
        except DeadlineExceeded:
            # Nothing is there.
            return
        except (GoogleAPICallError, RetryError) as error:
            raise _unreachable("be read", self._subscription, error) from error
        found = []
        for received in answer.received_messages:
            message = received.message
            delivered = self._source.format.delivered(
                message.data,
                f"pubsub/{self._subscription}/{message.message_id}",
                round(message.publish_time.timestamp() * 1000),
                message.attributes,
                self._source.now(),
            )
            found.append((received.ack_id, delivered))
        self._leases.add([ack_id for ack_id, _ in found])
        # Pub/Sub gives them in any order: those of one answer are at least put in theirs.
        self._waiting.extend(sorted(found, key=lambda one: one[1].event_time))

    def get_watermark(self) -> Timestamp:
        return self._watermark.at(self._waiting[0][1].event_time if self._waiting else None)

    def get_checkpoint_mark(self) -> PubSubMark:
        given, self._given = tuple(self._given), []
        return PubSubMark(self._subscription, given, self._leases)

    def close(self) -> None:
        """What was not given comes again at once; what was given and is not acknowledged, when its lease ends: a mark of it
        may still be on its way."""
        self._leases.give_back([ack_id for ack_id, _ in self._waiting])
        self._client.close()


class _Leases:
    """The messages that were pulled and are not acknowledged. clock: seconds that never go back."""

    def __init__(
        self, client: SubscriberClient, subscription: str, lease_seconds: int, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._subscription = subscription
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._held: dict[str, None] = {}
        self._renewed = clock()

    def add(self, ack_ids: Sequence[str]) -> None:
        """From the deadline of the subscription, which may be shorter, to ours."""
        self._held.update(dict.fromkeys(ack_ids))
        self._extend(ack_ids, self._lease_seconds)

    def renew(self) -> None:
        """Three times in each lease."""
        if self._clock() - self._renewed >= self._lease_seconds / 3:
            self._renewed = self._clock()
            self._extend(list(self._held), self._lease_seconds)

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        for part in _parts(ack_ids):
            try:
                self._client.acknowledge(subscription=self._subscription, ack_ids=part)
            except FailedPrecondition:
                # A lease has ended: the message comes again, and is known.
                pass
            except (GoogleAPICallError, RetryError) as error:
                raise _unreachable("be told what is committed", self._subscription, error) from error
            for ack_id in part:
                self._held.pop(ack_id, None)

    def give_back(self, ack_ids: Sequence[str]) -> None:
        self._extend(ack_ids, 0)
        for ack_id in ack_ids:
            self._held.pop(ack_id, None)

    def _extend(self, ack_ids: Sequence[str], seconds: int) -> None:
        for part in _parts(ack_ids):
            try:
                self._client.modify_ack_deadline(
                    subscription=self._subscription, ack_ids=part, ack_deadline_seconds=seconds
                )
            except FailedPrecondition:
                # As above.
                pass
            except (GoogleAPICallError, RetryError) as error:
                raise _unreachable("keep what was read", self._subscription, error) from error


def _parts(ack_ids: Sequence[str]) -> list[list[str]]:
    return [list(ack_ids[start : start + _MAX_MESSAGES]) for start in range(0, len(ack_ids), _MAX_MESSAGES)]


def _unreachable(what: str, subscription: str, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"the subscription must exist and {what}, {subscription} could not ({' '.join(str(error).split()):.200}); look at its"
        " name and rights, and run it again: nothing is lost"
    )
