"""Delimited files (CSV and TSV) cut into rows, for every command that reads one: a bad row costs itself alone. No Beam.

A row of a TSV is a line, and quotation marks are text. A record of a CSV may hold line ends and commas between quotation
marks. One that does not end as a row of as many columns as the first, or not within the limit, is bad in the line that
it begins in, and reading goes on at the next line: the mark may be a stray one, and the lines behind it rows.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from typing import IO

from clozekit.pipelines.text_files.cut_text import BYTE_ORDER_MARK, Piece, cut_lines
from clozekit.pipelines.text_files.quoted_records import TOO_LONG as TOO_LONG
from clozekit.pipelines.text_files.quoted_records import QuotedRecords
from clozekit.pipelines.text_files.quoted_records import Row as Row
from clozekit.tokenizers.common.errors import InputError

# "auto": marks quote in a CSV and are text in a TSV.
QUOTING = ("auto", "double", "none")
DELIMITERS = {"csv": ",", "tsv": "\t"}
DEFAULT_MAX_ROW_BYTES = 32 * 2**20


def is_quoted(file_format: str, quoting: str) -> bool:
    """Whether quotation marks mean something in a "csv" or "tsv"."""
    return quoting == "double" or (quoting == "auto" and file_format == "csv")


def read_rows(
    stream: IO[bytes], limit: int, delimiter: str, quoted: bool, source: str, header: bool = True
) -> Iterator[Row]:
    """The rows, the first one (the header, if there is one) included. Empty lines are none.

    limit: bytes of the longest row. Where files were joined, a byte-order mark before a row is dropped, and with `header`
    also a row behind such a mark that repeats the first. Raises InputError when the first row is none.
    """
    csv.field_size_limit(sys.maxsize)
    lines = cut_lines(stream, 0, None, limit)
    rows = QuotedRecords(lines, limit, delimiter).rows() if quoted else _plain_rows(lines, delimiter)
    first = next(rows, None)
    if first is None:
        return
    # Old Macs ended lines so: the whole file is then one line.
    if any("\r" in cell for cell in first.cells if not quoted) or "new-line" in first.problem:
        raise InputError(
            f"lines must end with \\n or \\r\\n, the first one of {source} has \\r alone in it; convert the file, as with:"
            " tr '\\r' '\\n'"
        )
    if first.problem:
        raise InputError(f"the first line of a table must be a row, that of {source} is not: {first.problem}")
    yield first
    for row in rows:
        if not row.problem and len(row.cells) != len(first.cells):
            problem = f"a row must have the {len(first.cells)} columns of the first line, this one has {len(row.cells)}; correct it"
            yield row._replace(problem=problem)
        elif not (header and row.is_joint and row.cells == first.cells):
            yield row


def _plain_rows(lines: Iterator[Piece], delimiter: str) -> Iterator[Row]:
    for piece in lines:
        content = piece.content
        if content is None:
            yield Row(piece.offset, piece.line, [], TOO_LONG)
            continue
        is_joint = content.startswith(BYTE_ORDER_MARK)
        if is_joint:
            content = content.removeprefix(BYTE_ORDER_MARK)
        # Not str.strip or splitlines: form feeds and Unicode's line separators belong to the texts.
        text = content.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        if text:
            yield Row(piece.offset, piece.line, text.split(delimiter), "", is_joint)


def column_place(name: str, columns: Sequence[str], source: str, advice: str) -> int:
    """Where the column `name` stands. Raises InputError when it is missing, or when it stands there twice."""
    if name not in columns:
        raise InputError(f"a table must have the column {name!r}, {source} has {list(columns)}; {advice}")
    if columns.count(name) > 1:
        raise InputError(
            f"a column that is read must stand once in the header, {source} has {name!r} {columns.count(name)} times;"
            " rename the others"
        )
    return columns.index(name)


def is_unicode(cell: str) -> bool:
    """Whether the bytes of a cell were UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True
