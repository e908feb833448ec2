"""Watching folders: every file that appears below them, or below a prefix of a bucket, is read once it is complete.

The event time of a document is when its file was first seen here: a file that was copied in with an old date is new all the
same, and nothing that is in the folder is ever too late. Where records have times of their own (source.time_key), it is those:
then the watermark stands still while there are files to read, so that those that lie there together are late in no order, and
afterwards is the newest time, a little behind. Which files were read is kept by name, size and version, for ever:
order and dates of files decide nothing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp

from clozekit.pipelines.reading.input_files import Skipped, find_inputs
from clozekit.pipelines.reading.read_documents import WorkItem, read_item
from clozekit.pipelines.running.dead_letters import dead_letter
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.settings.stream_settings import WatchSettings
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.sources.message_watermark import MessageWatermark
from clozekit.pipelines.streaming.sources.record_times import timed
from clozekit.pipelines.streaming.sources.stream_source import Position, StreamReader, StreamSource
from clozekit.pipelines.text_files.file_states import State, states_of
from clozekit.tokenizers.common.errors import InputError


def name_of_state(path: str, state: State) -> str:
    """A file as it was read: another size or version is another one."""
    return "\0".join([path, *map(str, state)])


def _nothing(_: str) -> bool:
    return False


@dataclass
class FolderMark(CheckpointMark):
    """finished: the files that were read to their ends since the mark before; is_finished: tells of those before."""

    finished: tuple[str, ...] = ()
    before: frozenset[str] = frozenset()
    is_finished: Callable[[str], bool] = field(default=_nothing, compare=False)


class FolderMarkCoder(coders.Coder):
    """Marks by the names of all that is finished: an engine keeps them, and nothing else does."""

    def encode(self, value: FolderMark) -> bytes:
        return "\n".join(sorted(value.before | set(value.finished))).encode("utf-8", "surrogatepass")

    def decode(self, encoded: bytes) -> FolderMark:
        names = encoded.decode("utf-8", "surrogatepass")
        return FolderMark(before=frozenset(names.split("\n")) if names else frozenset())

    def is_deterministic(self) -> bool:
        return True


class FolderSource(StreamSource):
    """Documents of files as they appear.

    Args:
        reading: which folders, globs or prefixes, and how documents are found in files.
        watch: how long a file must be unchanged; until_idle: whether the source ends when nothing is left to read.
        outputs: folders that the stream writes to: what is in them is no input.
        now: seconds since 1970, for tests.
        times: whether records have times of their own, and how disordered they are.
    """

    def __init__(
        self,
        reading: ReadSettings,
        watch: WatchSettings,
        outputs: tuple[str, ...] = (),
        now: Callable[[], float] = time.time,
        times: SourceSettings | None = None,
    ) -> None:
        super().__init__()
        self.times = SourceSettings() if times is None else times
        self.reading = reading
        self.watch = watch
        self.outputs = outputs
        self.now = now

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> "FolderReader":
        return FolderReader(self, checkpoint_mark if isinstance(checkpoint_mark, FolderMark) else FolderMark())

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return FolderMarkCoder()

    def position_of(self, mark: CheckpointMark) -> Position:
        """The fragments name what is finished."""
        return Position(None, mark.finished if isinstance(mark, FolderMark) else ())

    def mark_of(self, position: Any, is_finished: Callable[[str], bool]) -> CheckpointMark | None:
        return FolderMark(is_finished=is_finished)


class FolderReader(StreamReader):
    """Reads one file after the other, in the order in which they were seen, those of one look by their names."""

    def __init__(self, source: FolderSource, mark: FolderMark) -> None:
        self._source = source
        self._mark = mark
        self._records = self._read()
        # Name of a state -> when the file was first seen in it, by the clock of this process.
        self._seen: dict[str, float] = {}
        self._finished: list[str] = []
        self._all_finished: set[str] = set()
        self._read_from = source.now()
        self._is_idle = False
        times = source.times
        self._newest = MessageWatermark(times.disorder_seconds, times.idle_seconds, source.now)
        self._watermark = MIN_TIMESTAMP

    def advance(self) -> bool:
        self._current = next(self._records)
        return self._current is not None

    def get_watermark(self) -> Timestamp:
        """What is found from now on has a later time; a file that is being read has that of its finding."""
        if self._is_idle and self._source.watch.until_idle:
            return MAX_TIMESTAMP
        if self._source.times.time_key:
            if self._is_idle:
                self._watermark = self._newest.at(None)
            return self._watermark
        return Timestamp(micros=int(self._read_from * 1000) * 1000)

    def get_checkpoint_mark(self) -> FolderMark:
        finished = tuple(self._finished)
        before = self._mark.before | self._all_finished
        self._all_finished |= set(finished)
        self._finished = []
        return FolderMark(finished, frozenset(before))

    def _read(self) -> Iterator[Delivered | None]:
        """The records, None whenever there is none now."""
        while True:
            found = self._complete_files()
            for file, state, name in found:
                seen = self._seen.pop(name)
                self._read_from = seen
                yield from self._read_file(file, state, name, int(seen * 1000))
            # Those that are still being written were seen before.
            self._read_from = min([self._source.now(), *self._seen.values()])
            self._is_idle = not found and not self._seen
            if not found:
                yield None

    def _complete_files(self) -> list[tuple[InputFile, State, str]]:
        """Files that were not read yet and are no longer being written."""
        source = self._source
        files: list[InputFile] = []
        for pattern in source.reading.inputs:
            try:
                files += find_inputs((pattern,), "", Skipped(), source.outputs)
            except InputError:
                # There may be one later.
                continue
        states = states_of([file.path for file in files])
        now = source.now()
        complete, seen = [], {}
        for file in sorted(files, key=lambda one: one.path):
            state = states[file.path]
            name = name_of_state(file.path, state)
            if not state or name in self._all_finished or name in self._finished:
                continue
            if self._was_finished(name):
                # Looked up once, not each time that the folder is looked at.
                self._all_finished.add(name)
                continue
            seen[name] = self._seen.get(name, now)
            if self._is_settled(state, now - seen[name], now):
                complete.append((file, state, name))
        self._seen = seen
        return sorted(complete, key=lambda one: (seen[one[2]], one[0].path))

    def _was_finished(self, name: str) -> bool:
        return name in self._mark.before or self._mark.is_finished(name)

    def _is_settled(self, state: State, known_for: float, now: float) -> bool:
        """A local file by its own time, so that one that was renamed in is read at once; what is in a store is whole."""
        settle = self._source.watch.settle_seconds
        return len(state) != 4 or known_for >= settle or now - state[1] / 1e9 >= settle

    def _read_file(self, file: InputFile, state: State, name: str, event_time: int) -> Iterator[Delivered]:
        offset = 0
        try:
            time_key = self._source.times.time_key
            for offset, record in read_item(WorkItem(0, file, 0), self._source.reading, time_key):
                yield timed(f"{file.path}#{offset}", event_time, record, self._source.now(), self._newest)
        except (InputError, OSError, EOFError) as error:
            # A file that is gone meanwhile is none; one that can't be read is set aside as it is.
            if not states_of([file.path])[file.path]:
                return
            letter = dead_letter("read", file.path, offset, "the rest of the file", error)
            yield Delivered(f"{file.path}#{offset}", event_time, letter)
        # Whoever appends to a file makes another one of it, of which only the new documents count.
        if states_of([file.path])[file.path] == state:
            self._finished.append(name)
