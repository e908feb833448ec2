"""Cutting text into records: lines, blocks between blank lines, whole files; within a range of bytes where asked.

A byte-order mark at the start of a line is no part of the text: files that have one each may have been joined.
"""

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LOOK_BACK_BYTES = 4096


class Piece(NamedTuple):
    """What one record is made from. offset: where it starts; line: its line or row, from 1, or 0 when that is not known;
    content: what the format's parser takes, or None for a record above the limit."""

    offset: int
    line: int
    content: Any


def cut_lines(stream: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[Piece]:
    """The lines that begin in [start, end), blank ones too, with their ends; the last one may reach beyond `end`.

    A line longer than `limit` bytes is never held whole: its content is None.
    """
    position = number = 0
    if start:
        # The line that the byte before `start` belongs to is the range before's.
        stream.seek(start - 1)
        position = start - 1 + _skip_line(stream, limit)
    while end is None or position < end:
        line = stream.readline(limit + 1)
        if not line:
            return
        begin = position
        position += len(line)
        number += 1
        content: bytes | None = line
        if len(line) > limit:
            content = None
            if not line.endswith(b"\n"):
                position += _skip_line(stream, limit)
        elif begin == 0:
            content = line.removeprefix(BYTE_ORDER_MARK)
        yield Piece(begin, 0 if start else number, content)


def _skip_line(stream: IO[bytes], limit: int) -> int:
    """Reads to the end of the line; how many bytes that were."""
    skipped = 0
    while part := stream.readline(limit):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def cut_text_lines(stream: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[Piece]:
    """The lines that hold something, without their ends."""
    for piece in cut_lines(stream, start, end, limit):
        if piece.content is None:
            yield piece
        elif (line := piece.content.removeprefix(BYTE_ORDER_MARK)).strip():
            yield piece._replace(content=line.rstrip(b"\r\n"))


def cut_blocks(stream: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[Piece]:
    """The blocks between blank lines that begin in [start, end)."""
    # Without a blank line before it, the first line belongs to a block of the range before.
    is_open = bool(start) and not _blank_before(stream, start, limit)
    block: list[bytes] = []
    size, first = 0, Piece(0, 0, None)
    for piece in cut_lines(stream, start, None, limit):
        is_blank = piece.content is not None and not piece.content.strip()
        if piece.content is not None and piece.content.startswith(BYTE_ORDER_MARK):
            piece = piece._replace(content=piece.content.removeprefix(BYTE_ORDER_MARK))
        if is_blank:
            if block:
                yield first._replace(content=b"".join(block) if size <= limit else None)
            block, size, is_open = [], 0, False
        if end is not None and piece.offset >= end and not block:
            return
        if is_blank or is_open:
            continue
        if not block:
            first = piece
        size += limit + 1 if piece.content is None else len(piece.content)
        # Above the limit only the fact that there is a block is kept.
        block = [*block, piece.content] if size <= limit and piece.content is not None else [b""]
    if block:
        yield first._replace(content=b"".join(block) if size <= limit else None)


def _blank_before(stream: IO[bytes], start: int, limit: int) -> bool:
    """Whether the line before the first one that begins at `start` or later is blank (or there is none)."""
    position = start - 1
    stream.seek(position)
    rest = stream.readline(limit)
    if rest.strip():
        return False
    # That line's end is blank; its beginning stands before `start - 1`.
    while position:
        size = min(_LOOK_BACK_BYTES, position)
        position -= size
        stream.seek(position)
        last = stream.read(size).rpartition(b"\n")
        if last[2].strip():
            return False
        if last[1]:
            return True
    return True


def cut_whole(stream: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[Piece]:
    """All of the file as one piece."""
    content: bytes | None = stream.read(limit + 1)
    if content is not None and len(content) > limit:
        content = None
    if content is not None and BYTE_ORDER_MARK in content:
        content = content.removeprefix(BYTE_ORDER_MARK).replace(b"\n" + BYTE_ORDER_MARK, b"\n")
    yield Piece(0, 0, content)
