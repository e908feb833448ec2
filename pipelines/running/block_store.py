"""Blocks between stages: on local runs they are spilled to disk and only their places travel, so memory stays bounded.

Beam's local runner keeps everything between two stages in memory, in its own process and once more in a worker's. Other
runners spill by themselves: there the blocks travel.
"""

import os
import uuid
from dataclasses import dataclass
from typing import IO

import apache_beam as beam

from clozekit.tokenizers.storage.file_systems import path_named

_INLINE, _STORED = b"\0", b"\1"


@dataclass(frozen=True)
class BlockStore:
    """folder: where blocks wait, on a disk that all workers share; None: they travel with the elements."""

    folder: str | None = None

    def take(self, element: bytes) -> bytes:
        """The block that `BlockWriter.put` gave `element` for."""
        if element[:1] == _INLINE:
            return element[1:]
        start, length, name = element[1:].decode().split(" ", 2)
        with open(os.path.join(str(self.folder), name), "rb") as stream:
            stream.seek(int(start))
            return stream.read(int(length))


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
        start = self._stream.tell()
        with path_named(os.path.join(self._store.folder, self._name)):
            self._stream.write(block)
            # Another process may read it as soon as its place is known.
            self._stream.flush()
        return _STORED + f"{start} {len(block)} {self._name}".encode()

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
