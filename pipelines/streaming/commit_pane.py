"""Committing: frozen panes become fragments of the chain, one by one; of several committers one wins each number."""

import time
from collections.abc import Callable, Iterator

from clozekit.pipelines.dataset.chain import FROZEN_FOLDER, FileInfo, Fragment, fragment_name
from clozekit.pipelines.dataset.chain_coverage import known_files
from clozekit.pipelines.dataset.chain_schema import is_content_name
from clozekit.pipelines.storage.files import join, list_names, read_bytes
from clozekit.pipelines.streaming.durable_files import make_once, write_durably
from clozekit.pipelines.streaming.known_hashes import TableCache
from clozekit.pipelines.streaming.make_fragment import Write, make_fragment
from clozekit.pipelines.streaming.open_stream import Stream
from clozekit.pipelines.streaming.pane import Pane, freeze_pane, pane_file, read_pane
from clozekit.pipelines.streaming.remove_garbage import HOURS_KEPT
from clozekit.tokenizers.common.errors import InputError


def freeze(stream: Stream, pane: Pane) -> FileInfo:
    """Writes a pane whole; from then on it will be committed, by whoever comes by. The same pane twice is one file."""
    file, content = freeze_pane(pane)
    with stream.writing():
        write_durably(stream.directory, file.name, content)
    return file


def waiting_panes(stream: Stream) -> list[str]:
    """Names of the frozen panes that are in no fragment yet, the oldest window first."""
    names = [f"{FROZEN_FOLDER}/{name}" for name in list_names(join(stream.directory, FROZEN_FOLDER))]
    waiting = [name for name in names if is_content_name(name) and name not in stream.named]
    return sorted(waiting, key=lambda name: (int(name.removeprefix(f"{FROZEN_FOLDER}/").rpartition("-")[0]), name))


def append(stream: Stream, make: Callable[[Write], Fragment | None]) -> Fragment | None:
    """Adds a fragment to the chain.

    make: gives the one that follows `stream.head`, or None when there is nothing to add any more; is given what its files are
    written with. It is asked again when somebody else was faster.
    """
    while True:
        begun = time.monotonic()
        with stream.writing():
            # Somebody else's fragment may have our number.
            stream.read_on()
            fragment = make(lambda path, written: write_durably(stream.directory, path, written))
            if fragment is None:
                return None
            # In a store what nobody names is removed by its age: what took so long is made once more.
            in_time = time.monotonic() - begun < HOURS_KEPT * 3600 / 2
            if in_time and make_once(stream.directory, fragment_name(fragment.number), fragment.to_json()):
                stream.add(fragment)
                return fragment


class Committer:
    """Makes fragments of frozen panes. Any number may work on one stream, in any processes and on any machines."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._tables = TableCache()

    def commit(self, name: str) -> Fragment | None:
        """The fragment of a frozen pane, by its name; None when another committer has made it.

        Raises InputError for a pane that is damaged: nothing is committed then.
        """
        stream = self._stream
        content = read_bytes(join(stream.directory, name))
        pane = read_pane(content, join(stream.directory, name))
        file = pane_file(pane, content)
        if file.name != name:
            raise InputError(
                f"a frozen pane must be named by what it holds, {join(stream.directory, name)} was changed; copy the stream"
                " again, or move the file away if no fragment names it"
            )

        def made(write: Write) -> Fragment | None:
            # It may be in somebody else's fragment.
            if name in stream.named:
                return None
            return make_fragment(
                *(stream.directory, stream.genesis, stream.options, stream.head, pane, file, write, self._tables)
            )

        fragment = append(stream, made)
        if fragment is not None:
            self._tables.forget_others([one.name for one in known_files(fragment)])
        return fragment

    def commit_waiting(self) -> Iterator[Fragment]:
        """Commits every frozen pane that waits, and gives the fragments that were made here."""
        self._stream.read_on()
        for name in waiting_panes(self._stream):
            fragment = self.commit(name)
            if fragment is not None:
                yield fragment
