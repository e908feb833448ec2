"""The seam of sources: what a Beam `UnboundedSource` gives so that a stream can be made of it.

Any `apache_beam.io.unbounded_source.UnboundedSource` whose records are `Delivered` is a source of streams: the embedded driver
drives its readers by hand, engines read it with `beam.io.Read`. A source that says more about its marks, by the class here,
has positions that people can read, and names what it has finished, so that marks stay small.
"""

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import Timestamp

from clozekit.pipelines.streaming.sources.delivered import Delivered


class Position(NamedTuple):
    """Where a source is: position, as JSON has it, and the names of what was finished since the mark before."""

    position: Any
    finished: tuple[str, ...] = ()


class StreamSource(UnboundedSource):
    """A source whose marks are told as JSON. The defaults do it for any coder of marks."""

    def split(self, desired_num_splits: int, options: Any = None) -> list[UnboundedSource]:
        return [self]

    def position_of(self, mark: CheckpointMark) -> Position:
        """What a fragment keeps of a mark."""
        return encoded_position(self, mark)

    def mark_of(self, position: Any, is_finished: Callable[[str], bool]) -> CheckpointMark | None:
        """The mark to go on from; is_finished: whether a name was finished before. position: of the last fragment, or None."""
        return None if position is None else decoded_mark(self, position)


class StreamReader(UnboundedReader):
    """A reader whose current record is `_current`, which `advance` sets; `start` is the first `advance`."""

    _current: Delivered | None = None

    def start(self) -> bool:
        return self.advance()

    def get_current(self) -> Delivered:
        if self._current is None:
            raise RuntimeError("there is no current record")
        return self._current

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp(micros=1000 * self.get_current().event_time)


def encoded_position(source: UnboundedSource, mark: CheckpointMark) -> Position:
    """A mark by the source's own coder."""
    return Position({"mark": base64.b64encode(source.get_checkpoint_mark_coder().encode(mark)).decode()})


def decoded_mark(source: UnboundedSource, position: Any) -> CheckpointMark:
    return source.get_checkpoint_mark_coder().decode(base64.b64decode(position["mark"]))


def as_json(position: Any) -> Any:
    """What JSON gives back of it: a fragment made again is the same."""
    return json.loads(json.dumps(position))
