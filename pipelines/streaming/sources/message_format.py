"""Messages: a JSON object with text, id and event time becomes a document; what is none becomes a dead letter."""

from collections.abc import Mapping
from dataclasses import dataclass

from clozekit.pipelines.reading.event_times import check_not_ahead, event_time
from clozekit.pipelines.reading.file_formats import parse_json
from clozekit.pipelines.running.dead_letters import dead_letter
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.text_files.json_lines import parse_object
from clozekit.tokenizers.common.errors import InputError


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
            check_not_ahead(time, now)
        except InputError as error:
            return Delivered(origin, published, dead_letter("read", origin, -1, "the message", error))
        return Delivered(origin, time, document)

    def _time(self, content: bytes, attributes: Mapping[str, str], published: int) -> int:
        if not self.time_key:
            return published
        fields = parse_object(content)
        time = event_time(fields.get(self.time_key, attributes.get(self.time_key)), self.time_key)
        return published if time is None else time
