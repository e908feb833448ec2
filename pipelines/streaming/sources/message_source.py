"""Sources of messages: what they are told, how a message becomes a document, and a watermark for each of their places."""

import time
from collections.abc import Callable

from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.streaming.sources.message_format import MessageFormat
from clozekit.pipelines.streaming.sources.message_watermark import MessageWatermark
from clozekit.pipelines.streaming.sources.stream_source import StreamSource


class MessageSource(StreamSource):
    """Base of Pub/Sub and Kafka.

    Args:
        settings: of the kind of the source.
        reading: the keys of text and id, and how long a message may be.
        now: seconds since 1970, for tests.
    """

    def __init__(self, settings: SourceSettings, reading: ReadSettings, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.settings = settings
        self.format = MessageFormat(reading, settings.time_key)
        self.now = now

    def watermark(self) -> MessageWatermark:
        """A new one, of a subscription or a partition."""
        return MessageWatermark(self.settings.disorder_seconds, self.settings.idle_seconds, self.now)
