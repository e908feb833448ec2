"""Messages: a JSON object with text, id and event time becomes a document; what is none becomes a dead letter."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clozekit.pipelines.reading.file_formats import parse_json
from clozekit.pipelines.running.dead_letters import dead_letter
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.text_files.json_lines import parse_object
from clozekit.tokenizers.common.errors import InputError

# A wrong clock would move the watermark, and everything after it would be late.
_MAX_AHEAD_SECONDS = 86_400
# A number below it is one of seconds (until the year 5138), from it on one of milliseconds (since 1973).
_FIRST_MILLISECONDS = 10**11


@dataclass(frozen=True)
class MessageFormat:
    """Where a message has what; time_key "": nowhere, and the time is that of publishing."""

    reading: ReadSettings
    time_key: str = ""

    def delivered(
        self, content: bytes, origin: str, published: int, attributes: Mapping[str, str], now: float
    ) -> Delivered:
        """The record of a message.

        published: milliseconds since 1970, the event time of a message without one and of a dead letter. attributes: those of
        Pub/Sub, headers of Kafka. now: seconds since 1970; what happened more than a day later is a dead letter.
        """
        try:
            limit = self.reading.max_document_bytes
            if len(content) > limit:
                raise InputError(
                    f"a message may have {self.reading.max_document_mb:g} MB (read.max_document_mb), this one has more;"
                    " raise the limit, or cut it"
                )
            document = parse_json(content, self.reading.text_key, self.reading.id_key)
            time = self._time(content, attributes, published)
            if time > (now + _MAX_AHEAD_SECONDS) * 1000:
                raise InputError(
                    f"an event time may be a day ahead of the clock, it is {_told(time)}; correct the clock of its sender"
                )
        except InputError as error:
            return Delivered(origin, published, dead_letter("read", origin, -1, "the message", error))
        return Delivered(origin, time, document)

    def _time(self, content: bytes, attributes: Mapping[str, str], published: int) -> int:
        if not self.time_key:
            return published
        fields = parse_object(content)
        value = fields.get(self.time_key, attributes.get(self.time_key))
        return published if value is None else event_time(value, self.time_key)


def event_time(value: Any, key: str) -> int:
    """Milliseconds since 1970 of ISO 8601 (without a zone: UTC), or of a number of seconds or milliseconds since 1970.

    Raises InputError naming the key for anything else.
    """
    try:
        if isinstance(value, str) and not _is_number(value):
            moment = datetime.fromisoformat(value.strip())
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return round(moment.timestamp() * 1000)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            number = float(value)
            time = round(number if abs(number) >= _FIRST_MILLISECONDS else number * 1000)
            _told(time)
            return time
        raise ValueError(f"a {type(value).__name__}")
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"an event time must be ISO 8601, or seconds or milliseconds since 1970, {key!r} is {value!r:.60} ({error});"
            " correct it, or set source.time_key"
        ) from error


def _is_number(text: str) -> bool:
    """Eight digits are the date of a day."""
    digits = text.strip().removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit() and len(digits) != 8


def _told(time: int) -> str:
    """Raises ValueError or OverflowError for a time in no year from 1 to 9999."""
    return datetime.fromtimestamp(time / 1000, UTC).isoformat()
