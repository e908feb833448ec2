"""Standard input: a document a line, text or JSON, as it comes; at its end the stream ends."""

import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any

from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from clozekit.pipelines.reading.file_formats import parse_json, parse_text
from clozekit.pipelines.running.dead_letters import dead_letter
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.message_watermark import MessageWatermark
from clozekit.pipelines.streaming.sources.record_times import timed
from clozekit.pipelines.streaming.sources.stream_source import Position, StreamReader, StreamSource
from clozekit.tokenizers.common.errors import InputError

_PART_BYTES = 1 << 16


class StandardInputSource(StreamSource):
    """Lines of a descriptor. What was read of a pipe can't be read again: nothing is promised of what was not committed.

    Args:
        reading: input_format "jsonl" takes each line for a JSON object, "auto" those that begin with a brace, "text" none.
        descriptor: of the system, standard input by default.
        now: seconds since 1970, for tests.
        times: whether JSON has times of its own, and how disordered they are.
    """

    def __init__(
        self,
        reading: ReadSettings,
        descriptor: int | None = None,
        now: Callable[[], float] = time.time,
        times: SourceSettings | None = None,
    ) -> None:
        super().__init__()
        self.times = SourceSettings() if times is None else times
        if reading.input_format not in ("auto", "text", "jsonl"):
            raise InputError(
                f"lines of standard input are text or jsonl, got read.input_format {reading.input_format}; pass one of them"
            )
        self.reading = reading
        self.descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self.now = now

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> "LineReader":
        return LineReader(self)

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return coders.PickleCoder()

    def position_of(self, mark: CheckpointMark) -> Position:
        return Position(None)

    def mark_of(self, position: Any, is_finished: Callable[[str], bool]) -> None:
        return None


class LineReader(StreamReader):
    """Never waits: a line that has not ended is not there yet."""

    def __init__(self, source: StandardInputSource) -> None:
        self._source = source
        self._waiting = bytearray()
        self._lines: list[bytes] = []
        self._number = 0
        self._has_ended = False
        self._watermark = MessageWatermark(source.times.disorder_seconds, source.times.idle_seconds, source.now)

    def advance(self) -> bool:
        self._current = None
        while self._current is None:
            while not self._lines and self._read_some():
                pass
            if not self._lines:
                return False
            line = self._lines.pop()
            self._number += 1
            if line.strip():
                self._current = self._delivered(line)
        return True

    def _read_some(self) -> bool:
        """Whether anything was to be had without waiting."""
        if self._has_ended or not select.select([self._source.descriptor], [], [], 0)[0]:
            return False
        part = os.read(self._source.descriptor, _PART_BYTES)
        if not part:
            self._has_ended = True
            rest, self._waiting = bytes(self._waiting), bytearray()
            self._lines = [rest] if rest else []
            return False
        self._waiting += part
        if b"\n" in part:
            whole, _, rest = bytes(self._waiting).rpartition(b"\n")
            self._waiting = bytearray(rest)
            self._lines = whole.split(b"\n")[::-1]
        elif len(self._waiting) > self._source.reading.max_document_bytes:
            # Its beginning is enough to know that it is too long.
            self._waiting = self._waiting[: self._source.reading.max_document_bytes + 1]
        return True

    def _delivered(self, line: bytes) -> Delivered:
        origin = f"standard input#{self._number}"
        reading = self._source.reading
        is_json = reading.input_format == "jsonl" or (reading.input_format == "auto" and line.lstrip()[:1] == b"{")
        when = int(self._source.now() * 1000)
        try:
            if len(line) > reading.max_document_bytes:
                raise InputError(
                    f"a document may have {reading.max_document_mb:g} MB (read.max_document_mb), this one has more; raise"
                    " the limit, or cut it"
                )
            record = parse_text(line.rstrip(b"\r"))
            if is_json:
                record = parse_json(line, reading.text_key, reading.id_key, self._source.times.time_key)
        except InputError as error:
            return Delivered(origin, when, dead_letter("read", "standard input", -1, f"line {self._number}", error))
        return timed(origin, when, record, self._source.now(), self._watermark)

    def get_watermark(self) -> Timestamp:
        if self._has_ended and not self._lines:
            return MAX_TIMESTAMP
        if self._source.times.time_key:
            return self._watermark.at(None)
        return Timestamp(micros=int(self._source.now() * 1000) * 1000)

    def get_checkpoint_mark(self) -> CheckpointMark:
        return CheckpointMark()
