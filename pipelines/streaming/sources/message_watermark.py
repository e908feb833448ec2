"""The watermark of messages: the newest event time, and with the clock where nothing comes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp


@dataclass
class MessageWatermark:
    """Of one partition, or of one subscription, whose messages come in almost their order.

    disorder_seconds: how far behind the newest a message may come. idle_seconds: after so long without one it goes with the
    clock, so far behind it. now: seconds since 1970.
    """

    disorder_seconds: float
    idle_seconds: float
    now: Callable[[], float]
    _newest: int | None = None
    _last_seen: float = field(default=0.0)
    _before: Timestamp = MIN_TIMESTAMP

    def __post_init__(self) -> None:
        self._last_seen = self.now()

    def saw(self, event_time: int) -> None:
        """event_time: milliseconds since 1970. One that is ahead of the clock counts as now."""
        now = self.now()
        self._last_seen = now
        capped = min(event_time, int(now * 1000))
        self._newest = capped if self._newest is None else max(self._newest, capped)

    def at(self, oldest_waiting: int | None) -> Timestamp:
        """It never goes back. oldest_waiting: milliseconds of what has come and was not given yet."""
        times = []
        if self._newest is not None:
            times.append(self._newest - int(self.disorder_seconds * 1000))
        now = self.now()
        if now - self._last_seen >= self.idle_seconds and oldest_waiting is None:
            times.append(int((now - self.idle_seconds) * 1000))
        if times:
            found = max(times) if oldest_waiting is None else min(max(times), oldest_waiting)
            self._before = max(self._before, Timestamp(micros=1000 * found))
        return self._before
