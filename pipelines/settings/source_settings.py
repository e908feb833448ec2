"""The settings of a stream's source: files, standard input, Pub/Sub or Kafka. Checked when they are made."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from clozekit.pipelines.settings.choices import check_choices, choice
from clozekit.tokenizers.common.errors import InputError

SOURCE_KINDS = ("files", "stdin", "pubsub", "kafka")
_MESSAGES = ("time_key", "disorder_seconds", "idle_seconds")
_OWN = {
    "files": _MESSAGES,
    "stdin": _MESSAGES,
    "pubsub": (*_MESSAGES, "subscription", "lease_seconds"),
    "kafka": (*_MESSAGES, "brokers", "topics", "group", "options"),
}
_NEEDED = {"files": (), "stdin": (), "pubsub": ("subscription",), "kafka": ("brokers", "topics")}


@dataclass(frozen=True)
class SourceSettings:
    """Where the documents of a stream come from; a message is a JSON object, whose text and id `read` names.

    kind: files are those of read.inputs; stdin, pubsub and kafka have no inputs.
    subscription: of Pub/Sub, in full: projects/P/subscriptions/S. Every message of it comes here alone.
    brokers: of Kafka, host:port each; those that are asked for the others.
    topics: of Kafka, all of their partitions.
    group: of Kafka; the offsets of what is committed are told to it, so that tools show the lag. Reading goes by the
        offsets in the stream.
    options: of the Kafka client by their own names, such as security.protocol; see librdkafka's CONFIGURATION.md.
    time_key: the field, else the attribute or header, with the event time: ISO 8601, or seconds or milliseconds since 1970. Of
        files the field of JSON lines, the column of tables, the feature of tf.Examples. Without one, and in records that lack
        it, it is the time of publishing, of a file that when it was first seen, of a line that when it was read.
    disorder_seconds: how much older than the newest a message may be and still be on time. Of files it is said of those that
        come later: what lies there together is complete together.
    idle_seconds: what gives nothing for so long goes with the clock, so many seconds behind it. Both are of sources with event
        times.
    lease_seconds: for how long Pub/Sub keeps what was read and is not committed from being delivered again; it is renewed in
        time, and after a kill the messages come again when it is over.

    Raises:
        InputError: for an unknown kind, what a kind needs and has not, what it has and does not know, a time below 0, and a
            lease that is not from 10 to 600 seconds.

    Example:

        >>> from clozekit.pipelines.settings.source_settings import SourceSettings
        >>> SourceSettings("pubsub", subscription="projects/p/subscriptions/s").name
        'pubsub/projects/p/subscriptions/s'
        >>> SourceSettings("kafka", brokers=("localhost:9092",))
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: a source of kind kafka needs source.topics, got none; add it
    """

    kind: str = choice("files", SOURCE_KINDS)
    subscription: str = ""
    brokers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    group: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    time_key: str = ""
    disorder_seconds: float = 10.0
    idle_seconds: float = 60.0
    lease_seconds: int = 60

    def __post_init__(self) -> None:
        check_choices(self, "source.")
        for name in _NEEDED[self.kind]:
            if not getattr(self, name):
                raise InputError(f"a source of kind {self.kind} needs source.{name}, got none; add it")
        for one in dataclasses.fields(self):
            is_given = getattr(self, one.name) != _default(one)
            if one.name != "kind" and is_given and one.name not in _OWN[self.kind]:
                known = [kind for kind, names in _OWN.items() if one.name in names]
                raise InputError(
                    f"source.{one.name} is of sources of kind {' and '.join(known)}, got it with {self.kind}; leave it out"
                )
        if self.kind == "pubsub" and not _is_subscription(self.subscription):
            raise InputError(
                f"source.subscription must be projects/PROJECT/subscriptions/NAME, got {self.subscription!r}; write it in full"
            )
        for name in ("disorder_seconds", "idle_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"source.{name} must be at least 0, got {getattr(self, name)}")
        # What Pub/Sub takes.
        if not 10 <= self.lease_seconds <= 600:
            raise InputError(f"source.lease_seconds must be from 10 to 600, got {self.lease_seconds}")
        if len(set(self.topics)) < len(self.topics):
            raise InputError(
                f"every topic must be named once, source.topics has {', '.join(self.topics)}; leave one out"
            )

    @property
    def name(self) -> str:
        """What the source is called on the screen; the origins of its messages begin with it, of Kafka with each topic."""
        return f"{self.kind}/{self.subscription or ','.join(self.topics)}"


def _default(one: dataclasses.Field[object]) -> object:
    return one.default if one.default_factory is dataclasses.MISSING else one.default_factory()


def _is_subscription(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 4 and (parts[0], parts[2]) == ("projects", "subscriptions") and all(parts)
