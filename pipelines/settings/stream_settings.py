"""The settings of `clozekit stream`: windows of event time, and how a source is watched. Checked when they are made."""

from dataclasses import dataclass

from clozekit.pipelines.dataset.stream_limits import MAX_TIME, MAX_WINDOW
from clozekit.pipelines.settings.prepare_settings import check_at_least
from clozekit.tokenizers.common.errors import InputError


@dataclass(frozen=True)
class WindowSettings:
    """How a stream is cut by event time, and for how long it remembers; they stay as they are for all of its life.

    window_seconds: documents whose event times fall into the same window are packed together; windows begin at whole
        multiples of it since 1970.
    lateness_seconds: how long after its end a window still takes documents, by the watermark; those that come later are set
        aside in side/late-*, counted.
    time_to_live_seconds: for how long a text or a delivery is known again, by the watermark; what comes again later counts as
        new.

    Raises:
        InputError: for a window that is not from a second to a hundred days, and a time below 0.

    Source: windows, watermark, lateness: Akidau et al. 2015, The Dataflow Model, section 2.

    Example:

        >>> from clozekit.pipelines.settings.stream_settings import WindowSettings
        >>> WindowSettings(window_seconds=60).window_of(1_764_400_000_123)
        (1764399960, 1764400020)
        >>> WindowSettings(window_seconds=0)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: stream.window_seconds must be from 1 to 8,640,000, got 0
    """

    window_seconds: int = 600
    lateness_seconds: int = 86_400
    time_to_live_seconds: int = 2_592_000

    def __post_init__(self) -> None:
        if not 1 <= self.window_seconds <= MAX_WINDOW:
            raise InputError(f"stream.window_seconds must be from 1 to {MAX_WINDOW:,}, got {self.window_seconds}")
        for name in ("lateness_seconds", "time_to_live_seconds"):
            check_at_least(f"stream.{name}", getattr(self, name), 0)
            if getattr(self, name) > MAX_TIME:
                raise InputError(f"stream.{name} must be at most {MAX_TIME:,}, got {getattr(self, name)}")

    def window_of(self, event_time: int) -> tuple[int, int]:
        """Start and end, in seconds, of the window of an event time in milliseconds, all since 1970."""
        start = event_time // (1000 * self.window_seconds) * self.window_seconds
        return start, start + self.window_seconds


@dataclass(frozen=True)
class WatchSettings:
    """How a source is watched and how much is held at once; they may be others each time.

    poll_seconds: how long to wait when nothing is there, before the source is asked again.
    settle_seconds: a file is read when it has not changed for so long: one that is still being written is left alone, one
        that was renamed into the folder is read at once.
    max_pane_mb: a window with so much text is committed in part before it ends, so that memory stays bounded: reading waits
        meanwhile; all open windows together hold four times as much at most.
    until_idle: ends when there is nothing left to read, and commits what is open, instead of waiting for more.

    Raises:
        InputError: for a time below 0, and a size that is not above 0.

    Example:

        >>> from clozekit.pipelines.settings.stream_settings import WatchSettings
        >>> WatchSettings(max_pane_mb=0)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: stream.max_pane_mb must be above 0, got 0
    """

    poll_seconds: float = 1.0
    settle_seconds: float = 5.0
    max_pane_mb: float = 64.0
    until_idle: bool = False

    def __post_init__(self) -> None:
        for name in ("poll_seconds", "settle_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"stream.{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.max_pane_mb < float("inf"):
            raise InputError(f"stream.max_pane_mb must be above 0, got {self.max_pane_mb}")
