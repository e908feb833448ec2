"""Records of files and lines at their own times, where they have any."""

from clozekit.pipelines.reading.event_times import check_not_ahead
from clozekit.pipelines.running.dead_letters import DeadLetter, dead_letter
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.message_watermark import MessageWatermark
from clozekit.tokenizers.common.errors import InputError


def timed(origin: str, seen: int, record: Document | DeadLetter, now: float, newest: MessageWatermark) -> Delivered:
    """A record at its own time, or at `seen` in milliseconds since 1970 where it has none; one that is more than a day ahead is a
    dead letter."""
    time = None if isinstance(record, DeadLetter) else record.time
    if time is None:
        return Delivered(origin, seen, record)
    try:
        check_not_ahead(time, now)
    except InputError as error:
        return Delivered(origin, seen, dead_letter("read", origin, -1, "the record", error))
    newest.saw(time)
    return Delivered(origin, time, record)
