"""Blocks between stages: on local runs they are spilled to disk and only their places travel, so memory stays bounded.

Beam's local runner keeps everything between two stages in memory, in its own process and once more in a worker's. Other
runners spill by themselves: there the blocks travel. Each block is taken once, and gives its disk back then: a build would else hold
every stage of the corpus until its end. Beam's local runner does no bundle again.
"""

import ctypes
import os
import sys
import uuid
from dataclasses import dataclass
from typing import IO

import apache_beam as beam

from clozekit.tokenizers.storage.file_systems import path_named

_INLINE, _STORED = b"\0", b"\1"
# A block of at least so many bytes begins at a page of its own: only whole pages can be given back.
_PAGE = 4096
_LARGE = 16 * _PAGE
# Of Linux's falloc.h: FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE.
_PUNCH_HOLE = 3
_FALLOCATE = ctypes.CDLL(None).fallocate if sys.platform == "linux" else None


@dataclass(frozen=True)
class BlockStore:
    """folder: where blocks wait, on a disk that all workers share; None: they travel with the elements."""

    folder: str | None = None

    def take(self, element: bytes) -> bytes:
        """The block that `BlockWriter.put` gave `element` for; once."""
        if element[:1] == _INLINE:
            return element[1:]
        path, start, length = self._place(element)
        with open(path, "r+b") as stream:
            stream.seek(start)
            block = stream.read(length)
            # No block begins with so many: they are JSON, pickles, or Arrow streams.
            if len(block) < length or block[:8] == bytes(8):
                raise RuntimeError(f"the block at {start} of {path} is not there, or was taken before")
            _give_back(stream, start, length)
        return block

    def pass_over(self, element: bytes) -> None:
        """Gives back the disk of a block that nobody takes."""
        if element[:1] == _STORED:
            path, start, length = self._place(element)
            with open(path, "r+b") as stream:
                _give_back(stream, start, length)

    def _place(self, element: bytes) -> tuple[str, int, int]:
        start, length, name = element[1:].decode().split(" ", 2)
        return os.path.join(str(self.folder), name), int(start), int(length)


def _give_back(stream: IO[bytes], start: int, length: int) -> None:
    """Has the file system forget a large block, where it can: elsewhere it waits for the end of the build."""
    if length >= _LARGE and _FALLOCATE is not None:
        pages = -(-length // _PAGE) * _PAGE
        # What it answers says nothing of the block, which was read.
        _FALLOCATE(stream.fileno(), _PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(pages))


def is_put(element: bytes) -> bool:
    """Whether `element`, a line of text or what a writer gave for it, is the latter."""
    return element[:1] in (_INLINE, _STORED)


class BlockWriter:
    """Puts the blocks of one worker into one file; what it gives is an element of the same kind either way."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._stream: IO[bytes] | None = None
        self._name = ""

    def put(self, block: bytes) -> bytes:
        if self._store.folder is None:
            return _INLINE + block
        if self._stream is None:
            os.makedirs(self._store.folder, exist_ok=True)
            self._name = uuid.uuid4().hex
            self._stream = open(os.path.join(self._store.folder, self._name), "wb")  # noqa: SIM115
        start, length = self._stream.tell(), len(block)
        with path_named(os.path.join(self._store.folder, self._name)):
            if length >= _LARGE:
                start += self._stream.write(bytes(-start % _PAGE))
            self._stream.write(block)
            if length >= _LARGE:
                self._stream.write(bytes(-length % _PAGE))
            # Another process may read it as soon as its place is known.
            self._stream.flush()
        return _STORED + f"{start} {length} {self._name}".encode()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class PutsBlocks(beam.DoFn):
    """A step that puts blocks into `store`: `_blocks` writes them, from `setup` to `teardown`."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store

    def setup(self) -> None:
        self._blocks = BlockWriter(self._store)

    def teardown(self) -> None:
        self._blocks.close()
