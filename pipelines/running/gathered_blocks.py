"""Gathering rows for the same key over many batches, so that few large blocks travel instead of many small ones.

A batch of documents has some rows for every part of a join. Sent at once, a corpus of n batches and p parts sends n * p blocks, and
both grow with the corpus: the process that leads a local run would hold them all, and each block says its columns again.
"""

import functools
import pickle
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from clozekit.pipelines.running.block_store import BlockStore, PutsBlocks
from clozekit.pipelines.running.blocks import concatenate, join_batches, to_bytes

# Of blocks that wait in files so many bytes are gathered in all keys together; of those that travel with the elements, so many.
GATHERED_BYTES = 16_000_000
TRAVELLING_BYTES = 1_000_000


def join_rows(chunks: Sequence[pa.RecordBatch]) -> bytes:
    return to_bytes(join_batches(list(chunks)))


def join_arrays(chunks: Sequence[tuple[np.ndarray, ...]]) -> bytes:
    """All first arrays as one, all second ones, ..."""
    return pickle.dumps(tuple(np.concatenate(column) for column in zip(*chunks, strict=True)))


def join_lists(chunks: Sequence[list[Any]]) -> bytes:
    return pickle.dumps([item for chunk in chunks for item in chunk])


def take_rows(store: BlockStore, blocks: Iterable[bytes]) -> pa.RecordBatch:
    """What is in blocks of `join_rows`, as one."""
    return concatenate([store.take(block) for block in blocks])


def take_arrays(store: BlockStore, blocks: Iterable[bytes], *kinds: type) -> tuple[np.ndarray, ...]:
    """All first arrays of blocks of `join_arrays` as one, all second ones, ...; kinds: their types, where there are no blocks."""
    arrays = (pickle.loads(store.take(block)) for block in blocks)
    return tuple(
        np.concatenate(column) for column in zip(*arrays, tuple(np.zeros(0, kind) for kind in kinds), strict=True)
    )


def take_lists(store: BlockStore, blocks: Iterable[bytes]) -> Iterator[Any]:
    """The items in blocks of `join_lists`."""
    for block in blocks:
        yield from pickle.loads(store.take(block))


# (key, rows) -> the rows of each part, by the part's key.
Cut = Callable[[Hashable, pa.RecordBatch], Iterable[tuple[Hashable, pa.RecordBatch]]]


class Kind(NamedTuple):
    """What a step gathers under one tag (None: its main output): how chunks become a block, the bytes of a chunk, and how rows are cut
    into parts before they do. Cut once for many chunks, a block has a share of many documents, however many parts there are."""

    tag: str | None
    join: Callable[[Sequence[Any]], bytes]
    size: Callable[[Any], int]
    cut: Cut | None = None


def rows_kind(tag: str | None = None, cut: Cut | None = None) -> Kind:
    """Chunks are record batches."""
    return Kind(tag, join_rows, _size_of_rows, cut)


def arrays_kind(tag: str | None = None) -> Kind:
    """Chunks are tuples of arrays."""
    return Kind(tag, join_arrays, _size_of_arrays)


def lists_kind(bytes_an_item: int, tag: str | None = None) -> Kind:
    """Chunks are lists of plain values."""
    return Kind(tag, join_lists, functools.partial(_size_of_list, bytes_an_item))


def _size_of_rows(rows: pa.RecordBatch) -> int:
    return int(rows.nbytes)


def _size_of_arrays(arrays: tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in arrays)


def _size_of_list(bytes_an_item: int, items: list[Any]) -> int:
    return bytes_an_item * len(items)


class GathersBlocks(PutsBlocks):
    """A step that gives (key, block), of rows that it gathered over the elements of a bundle.

    kinds: what it gathers, by tag; where rows are cut, the key is their part's. `process` yields from `_gather`; the rest goes when the
    bundle ends. Only for global windows.
    """

    def __init__(self, store: BlockStore, kinds: Iterable[Kind], most_bytes: int = GATHERED_BYTES) -> None:
        super().__init__(store)
        self._kinds = {kind.tag: kind for kind in kinds}
        self._most_bytes = most_bytes if store.folder is not None else min(most_bytes, TRAVELLING_BYTES)

    def start_bundle(self) -> None:
        # Of a bundle that failed nothing may be left.
        self._waiting: dict[str | None, dict[Hashable, list[Any]]] = {tag: {} for tag in self._kinds}
        self._waiting_bytes = dict.fromkeys(self._kinds, 0)

    def _gather(self, key: Hashable, chunk: Any, tag: str | None = None) -> Iterator[Any]:
        """Keeps the chunk; what was kept before goes first where both are too much, so a block is never larger than the bound or
        one chunk. Chunks of a key come in the order in which they were kept."""
        size = self._kinds[tag].size(chunk)
        if self._waiting_bytes[tag] + size > self._most_bytes:
            for element in self._blocks_of(tag):
                yield element if tag is None else beam.pvalue.TaggedOutput(tag, element)
        self._waiting[tag].setdefault(key, []).append(chunk)
        self._waiting_bytes[tag] += size

    def finish_bundle(self) -> Iterator[Any]:
        for tag in self._kinds:
            for element in self._blocks_of(tag):
                windowed = WindowedValue(element, MIN_TIMESTAMP, [GlobalWindow()])
                yield windowed if tag is None else beam.pvalue.TaggedOutput(tag, windowed)

    def _blocks_of(self, tag: str | None) -> Iterator[tuple[Hashable, bytes]]:
        waiting, kind = self._waiting[tag], self._kinds[tag]
        self._waiting[tag], self._waiting_bytes[tag] = {}, 0
        while waiting:
            # Joined chunks are given back at once.
            key, chunks = waiting.popitem()
            if kind.cut is None:
                yield key, self._blocks.put(kind.join(chunks))
                continue
            rows = join_batches(chunks)
            del chunks
            for part, own in kind.cut(key, rows):
                yield part, self._blocks.put(kind.join([own]))
