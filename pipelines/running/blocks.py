"""Blocks: many rows or pieces as one bytes element between stages, as Arrow IPC."""

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
