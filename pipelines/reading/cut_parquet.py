"""Cutting Parquet files into records: rows of row groups, each cell by itself, damage in one line that names the file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from clozekit.pipelines.text_files.cut_text import Piece
from clozekit.pipelines.text_files.delimited import column_place
from clozekit.tokenizers.common.errors import InputError

_BATCH_ROWS = 1000
# Fewer rows at a time where they are long.
_BATCH_BYTES = 256 * 2**20


def cut_parquet(
    stream: IO[bytes], start: int, end: int | None, limit: int, text_key: str, others: Sequence[str], source: str
) -> Iterator[Piece]:
    """The rows of the row groups of a Parquet file whose place is in [start, end): the text, and of other columns those that are
    there."""
    with _damage_named(source):
        file = pq.ParquetFile(stream)
        names = file.schema_arrow.names
        sizes = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
        places = _places(stream, len(sizes))
    column_place(text_key, names, source, "pass --text-key")
    wanted = [text_key]
    for other in others:
        if other in names and other not in wanted:
            column_place(other, names, source, "name another column")
            wanted.append(other)
    number = 0
    for index, (place, num_rows) in enumerate(zip(places, sizes, strict=True)):
        if start <= place and (end is None or place < end):
            begin = number
            for columns in _batches(file, index, wanted, source):
                for cells in zip(*columns, strict=True):
                    yield Piece(begin, begin + 1, _content(dict(zip(wanted, cells, strict=True)), text_key, limit))
                    begin += 1
            if begin != number + num_rows:
                raise InputError(
                    f"a .parquet input must be whole, row group {index} of {source} has {begin - number} rows and should"
                    f" have {num_rows}; fetch it again"
                )
        number += num_rows


def _places(stream: IO[bytes], num_groups: int) -> list[int]:
    """A byte of the file for each row group, in their order, by which ranges share them out.

    The footer tells where each begins, but on some damage to what it says of columns Arrow ends the process.
    """
    size = stream.seek(0, os.SEEK_END)
    return [size * index // num_groups for index in range(num_groups)]


def _batches(file: pq.ParquetFile, index: int, wanted: list[str], source: str) -> Iterator[list[list[Any]]]:
    """The cells of the wanted columns, some rows at a time."""
    with _damage_named(source, f"row group {index} of "):
        group = file.metadata.row_group(index)
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))
        batches = iter(file.iter_batches(rows, row_groups=[index], columns=wanted))
    while True:
        with _damage_named(source, f"row group {index} of "):
            batch = next(batches, None)
            if batch is None:
                return
            columns = [_cells(batch.column(batch.schema.get_field_index(name))) for name in wanted]
        yield columns


@contextmanager
def _damage_named(source: str, part: str = "") -> Iterator[None]:
    try:
        yield
    # Arrow raises what its C++ found: ArrowInvalid, OSError, NotImplementedError, MemoryError and others.
    except Exception as error:
        if isinstance(error, InputError) or getattr(error, "errno", None) is not None:
            raise
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"a .parquet input must be whole, {part}{source} is damaged ({said}); fetch it again"
        ) from error


def _cells(column: pa.Array) -> list[Any]:
    """The values of a column; text as its bytes, so that one which is not UTF-8 costs its own row alone."""
    if kinds.is_dictionary(column.type):
        values = _cells(column.dictionary)
        return [None if place is None else values[place] for place in column.indices.to_pylist()]
    if kinds.is_string(column.type) or kinds.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    elif kinds.is_string_view(column.type):
        column = column.cast(pa.binary_view())
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return [_cell(column, place) for place in range(len(column))]


def _cell(column: pa.Array, place: int) -> Any:
    try:
        return column[place].as_py()
    except (ValueError, OverflowError) as error:
        return InputError(f"a cell must be a value that can be read, this one is not ({error}); correct it")


def _content(cells: dict[str, Any], text_key: str, limit: int) -> Any:
    """What the format's parser takes: the cells, the error of one of them, or None for a text above the limit."""
    text = cells[text_key]
    if isinstance(text, bytes) and len(text) > limit:
        return None
    return next((cell for cell in cells.values() if isinstance(cell, InputError)), cells)
