"""Blocks: many rows or pieces as one bytes element between stages (Arrow IPC), and list columns without copies."""

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


def list_column(values: np.ndarray, lengths: np.ndarray) -> pa.LargeListArray:
    """A list per entry of `lengths`, cut from `values` one after the other."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def list_parts(column: pa.LargeListArray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `list_column`: all values, and the length of each list (int64)."""
    # `flatten` respects the offsets of a sliced column, `values` would not.
    return column.flatten().to_numpy(zero_copy_only=False), column.value_lengths().to_numpy(zero_copy_only=False)


def concatenate(blocks: list[bytes]) -> pa.RecordBatch:
    return join_batches([from_bytes(block) for block in blocks])


def join_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of at least one."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)


def gather_lists(values: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The values of the lists taken in `order`, one after the other."""
    starts = np.cumsum(lengths) - lengths
    taken = lengths[order]
    # Position inside the result minus where its list begins there = position inside the list.
    begins = np.cumsum(taken) - taken
    return values[np.arange(int(taken.sum())) - np.repeat(begins - starts[order], taken)]
