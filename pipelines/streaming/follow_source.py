"""Following a source: what arrives is processed in micro-batches, gathered by window, frozen as panes and committed.

One process, no graph of Beam's: the reader of the source is driven by hand. What was read and is not committed yet is in
memory alone; the source is told that it is done with when the chain holds it, and gives it again otherwise.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP

from clozekit.pipelines.dataset.chain import Fragment
from clozekit.pipelines.settings.stream_settings import WatchSettings, WindowSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.known_hashes import KnownHashes, TableCache, finished_hashes
from clozekit.pipelines.streaming.open_stream import Stream
from clozekit.pipelines.streaming.pane import Pane, PaneHead
from clozekit.pipelines.streaming.process_deliveries import MAX_BATCH_CHARACTERS, MAX_BATCH_DOCUMENTS, DeliverySteps
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.stream_source import (
    Position,
    StreamSource,
    as_json,
    decoded_mark,
    encoded_position,
)

# All windows that are open hold at most so many times what one may hold.
_OPEN_PANES = 4


@dataclass
class _OpenWindow:
    """What was read of a window and is not frozen yet."""

    start: int
    end: int
    tables: list[pa.Table] = field(default_factory=list)
    num_bytes: int = 0


@dataclass
class _Read:
    """A micro-batch that was read: the mark behind it, and the windows with documents of it that are not safe yet."""

    mark: CheckpointMark
    position: Position
    waiting: set[int]


@dataclass
class Progress:
    """What a stream has done since it was started: for a screen, and for metrics."""

    documents_read: int = 0
    watermark: int | None = None
    open_windows: int = 0
    open_bytes: int = 0
    fragments: list[Fragment] = field(default_factory=list)


class Follower:
    """Follows a source until it is told to stop, or the source ends.

    stream: where fragments go. source: whose records are `Delivered`. show: is called after each round, and with each fragment.
    sleep: waits so many seconds, or shorter when the stream is to stop.
    """

    def __init__(
        self,
        stream: Stream,
        source: UnboundedSource,
        steps: DeliverySteps,
        watch: WatchSettings,
        show: Callable[[Progress, Fragment | None], None] = lambda progress, fragment: None,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._stream = stream
        self._source = source
        self._steps = steps
        self._watch = watch
        self._show = show
        self._sleep = sleep
        genesis = stream.genesis
        self._windows = WindowSettings(genesis.window_seconds, genesis.lateness_seconds, genesis.time_to_live_seconds)
        self._committer = Committer(stream)
        self._open: dict[int, _OpenWindow] = {}
        self._reads: deque[_Read] = deque()
        self._position: Any = None
        self._finished: list[str] = []
        self.progress = Progress()

    def run(self, is_stopped: Callable[[], bool] = lambda: False) -> Progress:
        """Reads and commits until the source ends or `is_stopped`; then what is open is committed, as an early pane.

        Raises InputError when the stream is damaged, and what the source raises: nothing that was read is lost then.
        """
        for fragment in self._committer.commit_waiting():
            self._tell(fragment)
        self._position = None if self._stream.head is None else self._stream.head.position
        reader = self._source.create_reader(None, self._mark())
        try:
            is_there = reader.start()
            while not is_stopped():
                if is_there:
                    is_there = self._read_batch(reader, is_stopped)
                watermark = reader.get_watermark()
                has_ended = watermark == MAX_TIMESTAMP
                seconds = watermark.micros // 1_000_000
                # Before the first document a source may know none.
                if not has_ended and watermark != MIN_TIMESTAMP:
                    self.progress.watermark = seconds
                self._commit_ended(seconds)
                self._tell(None)
                if has_ended and not is_there:
                    break
                if not is_there:
                    self._sleep(self._watch.poll_seconds)
                    is_there = reader.advance()
            # SIGTERM, or the end: the open windows are made safe.
            for start in sorted(self._open):
                self._commit(start, "early")
        finally:
            reader.close()
        return self.progress

    def _mark(self) -> CheckpointMark | None:
        if not isinstance(self._source, StreamSource):
            return None if self._position is None else decoded_mark(self._source, self._position)
        head = self._stream.head
        files = () if head is None else head.known["finished"]
        known = KnownHashes(self._stream.directory, "finished", files, TableCache())
        return self._source.mark_of(
            self._position, lambda name: bool(known.look_up(finished_hashes([name]), 0).is_known[0])
        )

    def _read_batch(self, reader: UnboundedReader, is_stopped: Callable[[], bool]) -> bool:
        """Reads and processes what is there, up to a batch; gives whether more is there."""
        batch: list[Delivered] = []
        characters, is_there = 0, True
        while is_there:
            delivered = reader.get_current()
            batch.append(delivered)
            characters += len(getattr(delivered.record, "text", ""))
            # A mark covers the current record too: it is taken before the reader goes on to one that is not in the batch.
            if len(batch) >= MAX_BATCH_DOCUMENTS or characters >= MAX_BATCH_CHARACTERS or is_stopped():
                break
            is_there = reader.advance()
        self._gather(batch, reader.get_checkpoint_mark())
        self.progress.documents_read += len(batch)
        return is_there and reader.advance()

    def _gather(self, batch: list[Delivered], mark: CheckpointMark) -> None:
        rows_of: dict[tuple[int, int], list[int]] = {}
        for row, delivered in enumerate(batch):
            rows_of.setdefault(self._windows.window_of(delivered.event_time), []).append(row)
        table = self._steps.process(batch)
        for (start, end), rows in sorted(rows_of.items()):
            part = table if len(rows) == table.num_rows else table.take(pa.array(rows))
            window = self._open.setdefault(start, _OpenWindow(start, end))
            window.tables.append(part)
            window.num_bytes += part.nbytes
        self._reads.append(_Read(mark, self._position_of(mark), {start for start, _ in rows_of}))
        for start in sorted({start for start, _ in rows_of}):
            if self._open[start].num_bytes >= self._watch.max_pane_mb * 1e6:
                self._commit(start, "early")
        # Of documents with times of their own many windows may be open at once.
        while sum(window.num_bytes for window in self._open.values()) >= _OPEN_PANES * self._watch.max_pane_mb * 1e6:
            self._commit(max(self._open, key=lambda start: self._open[start].num_bytes), "early")

    def _position_of(self, mark: CheckpointMark) -> Position:
        if isinstance(self._source, StreamSource):
            return self._source.position_of(mark)
        return encoded_position(self._source, mark)

    def _commit_ended(self, watermark: int) -> None:
        """Commits the windows that the watermark has passed."""
        for start in sorted(start for start, window in self._open.items() if window.end <= watermark):
            head = self._stream.head
            is_late = head is not None and self._open[start].end <= head.watermark
            self._commit(start, "late" if is_late else "on_time")

    def _commit(self, start: int, timing: str) -> None:
        window = self._open.pop(start)
        done = self._safe_without(start)
        watermark = window.end if timing != "early" else None
        head = PaneHead(window.start, window.end, timing, watermark, as_json(self._position), tuple(self._finished))
        file = freeze(self._stream, Pane(head, pa.concat_tables(window.tables)))
        fragment = self._committer.commit(file.name)
        self._finished = []
        for mark in done:
            mark.finalize_checkpoint()
        if fragment is not None:
            self.progress.fragments.append(fragment)
            self._tell(fragment)

    def _safe_without(self, start: int) -> list[CheckpointMark]:
        """The marks up to which everything is safe once the window is; the position becomes that of the last of them."""
        done = []
        for read in self._reads:
            read.waiting.discard(start)
        while self._reads and not self._reads[0].waiting:
            read = self._reads.popleft()
            self._position = read.position.position
            self._finished += read.position.finished
            done.append(read.mark)
        return done

    def _tell(self, fragment: Fragment | None) -> None:
        self.progress.open_windows = len(self._open)
        self.progress.open_bytes = sum(window.num_bytes for window in self._open.values())
        self._show(self.progress, fragment)
