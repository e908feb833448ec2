"""Blocks: many rows or pieces as one bytes element between stages, as Arrow IPC."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa


def to_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def from_bytes(block: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(block) as reader:
        return reader.read_next_batch()


def concatenate(blocks: list[bytes]) -> pa.RecordBatch:
    return join_batches([from_bytes(block) for block in blocks])


def join_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of at least one."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)


def cut_parts(batch: pa.RecordBatch, parts: np.ndarray) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each part that has some, in their order: slices of one sorted copy."""
    if not len(parts):
        return
    if (parts == parts[0]).all():
        yield int(parts[0]), batch
        return
    order = np.argsort(parts, kind="stable")
    ordered = batch.take(pa.array(order))
    for part, start, end in runs(parts[order]):
        yield part, ordered.slice(start, end - start)


def runs(ordered: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(value, start, end) of each run of equal values in a sorted array."""
    found, starts = np.unique(ordered, return_index=True)
    # Of an empty array there is an end, but no run.
    yield from zip(found.tolist(), starts.tolist(), [*starts[1:].tolist(), len(ordered)], strict=False)
