"""A source that gives what a script says: documents, and watermarks between them; the same script as a test stream."""

from collections.abc import Sequence
from typing import Any

from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp

from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.stream_source import Position, StreamSource

# Documents that arrive together, or the watermark in seconds that is known from then on.
Script = Sequence[list[Delivered] | int]


def as_test_stream(script: Script) -> TestStream:
    stream = TestStream()
    for step in script:
        if isinstance(step, int):
            stream = stream.advance_watermark_to(step)
        else:
            timed = [TimestampedValue(one, Timestamp(micros=1000 * one.event_time)) for one in step]
            stream = stream.add_elements(timed)
    return stream.advance_watermark_to_infinity()


class ScriptedSource(StreamSource):
    """Has no position: its marks say how many steps were taken."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> "ScriptedReader":
        return ScriptedReader(self.script, checkpoint_mark)

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return coders.PickleCoder()

    def position_of(self, mark: CheckpointMark) -> Position:
        return Position(None)

    def mark_of(self, position: Any, is_finished: Any) -> None:
        return None


class ScriptedMark(CheckpointMark):
    def __init__(self, step: int, place: int, watermark: Timestamp) -> None:
        self.step, self.place, self.watermark = step, place, watermark


class ScriptedReader(UnboundedReader):
    def __init__(self, script: Script, mark: CheckpointMark | None) -> None:
        self._script = script
        self._step, self._place, self._watermark = 0, 0, MIN_TIMESTAMP
        if isinstance(mark, ScriptedMark):
            self._step, self._place, self._watermark = mark.step, mark.place, mark.watermark
        self._current: Delivered | None = None

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        self._current = None
        if self._step == len(self._script):
            self._watermark = MAX_TIMESTAMP
            return False
        step = self._script[self._step]
        if isinstance(step, int):
            self._watermark = Timestamp(step)
            self._step += 1
            return False
        self._current = step[self._place]
        self._place += 1
        if self._place == len(step):
            self._step, self._place = self._step + 1, 0
        return True

    def get_current(self) -> Delivered:
        assert self._current is not None
        return self._current

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp(micros=1000 * self.get_current().event_time)

    def get_watermark(self) -> Timestamp:
        return self._watermark

    def get_checkpoint_mark(self) -> ScriptedMark:
        return ScriptedMark(self._step, self._place, self._watermark)
