"""Records of a CSV out of its lines: quotation marks may hold line ends; a mark that nothing closes costs its line alone.

Work is linear, however many stray marks there are. Whether a mark that is open before a line is closed in it does not
depend on where it was opened. So each line is parsed twice at most, once as the start of a record and once as the inside
of one, and what was found holds for every record that would reach it. Memory is that of one record of the limit.
"""

import csv
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from clozekit.pipelines.text_files.cut_text import BYTE_ORDER_MARK, Piece

TOO_LONG = "a row must fit into the limit, this one is longer; cut it, or raise the limit"
_UNCLOSED = (
    "a quotation mark must be closed where its row ends, the one opened here is not; close it, double it inside quotation"
    " marks, or read the file without quoting"
)
_CLOSED, _OPEN, _BAD, _TOO_LONG = range(4)
# So many lines behind the start of an overlong record tell whether it is a long text or a stray mark before rows.
_SAMPLE_LINES = 32
# So many rows one behind the other tell that a long text has ended without its mark.
_ROWS_AGAIN = 16


class Row(NamedTuple):
    """offset: the byte where the row begins; line: its first line, from 1; problem: why it is none, or nothing; is_joint:
    whether a byte-order mark stood before it.

    Bytes that are not UTF-8 are surrogates in `cells`: whoever needs the cell refuses it.
    """

    offset: int
    line: int
    cells: list[str]
    problem: str = ""
    is_joint: bool = False


class Line:
    """A line of a file without its byte-order mark. text: None above the limit; total: columns that ended in the lines up
    to this one while a mark was open."""

    __slots__ = ("_start", "end", "is_joint", "number", "offset", "text", "total")

    def __init__(self, piece: Piece, limit: int) -> None:
        self.offset, self.number, self.total = piece.offset, piece.line, 0
        self.text: str | None = None
        self.is_joint = False
        self.end = piece.offset + limit + 1
        self._start: tuple[int, list[str], str] | None = None
        if piece.content is not None:
            self.end = piece.offset + len(piece.content)
            self.is_joint = piece.content.startswith(BYTE_ORDER_MARK)
            self.text = piece.content.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")

    def start(self, dialect: Any) -> tuple[int, list[str], str]:
        """(state at the end, cells, problem) when a record begins here."""
        if self._start is None:
            self._start = (_BAD, [], TOO_LONG) if self.text is None else _parse(self.text, dialect)
        return self._start

    def inside(self, dialect: Any) -> tuple[int, int]:
        """(state at the end, columns that end here) when a quotation mark is open before the line."""
        if self.text is None or '"' not in self.text:
            return _OPEN, 0
        state, cells, _ = _parse('"' + self.text, dialect)
        return state, max(0, len(cells) - 1)


def _parse(text: str, dialect: Any) -> tuple[int, list[str], str]:
    # The mark in the second line closes what the first leaves open; the reader then has used both.
    reader = csv.reader((text, '"'), dialect)
    try:
        cells = next(reader)
    except csv.Error as error:
        return _BAD, [], f"a row must be valid CSV, this one is not ({error}); correct it"
    return (_CLOSED if reader.line_num == 1 else _OPEN), cells, ""


class _TooMuchError(Exception):
    """A record is above the limit."""


class _Tap:
    """The texts of lines for a csv.reader, which takes as many as its record has; they are kept until the next one."""

    def __init__(self, lines: Iterator[Piece], limit: int) -> None:
        self._lines = lines
        self._limit = limit
        self.start()

    def start(self) -> None:
        self.taken: list[Piece] = []
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = next(self._lines)
        self.taken.append(piece)
        content = piece.content
        if content is None:
            raise _TooMuchError
        self._size += len(content)
        if self._size > self._limit:
            raise _TooMuchError
        if content.startswith(BYTE_ORDER_MARK):
            content = content.removeprefix(BYTE_ORDER_MARK)
        text: str = content.decode("utf-8", "surrogateescape")
        return text

    def lines(self) -> Iterator[Line]:
        return (Line(piece, self._limit) for piece in self.taken)


class QuotedRecords:
    """The records of `lines`. A record that does not end within `limit` bytes as a row of as many columns as the first is
    bad in its first line, and reading goes on at the next one."""

    def __init__(self, lines: Iterator[Piece], limit: int, delimiter: str) -> None:
        self._lines = lines
        self._limit = limit
        self._dialect = csv.reader((), delimiter=delimiter, strict=True).dialect
        self._width: int | None = None
        self._total = 0
        self._window: deque[Line] = deque()
        # By number from the start of the file: the window's first line; the last line that leaves a mark open which is open
        # before it; how the next one ends, once it is known to be another kind.
        self._first = 0
        self._known = -1
        self._stop: int | None = None

    def rows(self) -> Iterator[Row]:
        tap = _Tap(self._lines, self._limit)
        records = csv.reader(tap, self._dialect)
        while True:
            row = self._next_row() if self._window else None
            if row is None:
                # As long as all is well one reader goes on: line by line takes three times as long.
                tap.start()
                try:
                    cells = next(records)
                except StopIteration:
                    return
                except (csv.Error, _TooMuchError):
                    self._window.extend(tap.lines())
                    continue
                if len(tap.taken) > 1 and self._width not in (None, len(cells)):
                    self._window.extend(tap.lines())
                    continue
                if not cells:
                    continue
                first = tap.taken[0]
                row = Row(first.offset, first.line, cells, "", first.content.startswith(BYTE_ORDER_MARK))
            if self._width is None:
                self._width = len(row.cells)
            yield row

    def _next_row(self) -> Row | None:
        """The row that begins in the window's first line, None for a line without one."""
        line = self._window[0]
        state, cells, problem = line.start(self._dialect)
        if state == _OPEN:
            return self._open_record(line, len(cells))
        self._pop()
        return Row(line.offset, line.number, cells, problem, line.is_joint) if cells or problem else None

    def _open_record(self, line: Line, num_cells: int) -> Row:
        """The record that begins in `line`, the window's first, and does not end there."""
        if self._first > self._known:
            # No record that began before reached this line.
            self._known, self._stop, line.total = self._first, None, 0
        state, last = self._follow(line)
        columns_before = num_cells - line.total
        if state == _CLOSED and self._width in (None, columns_before + last.total):
            texts = []
            while (taken := self._pop()) is not last:
                texts.append(taken.text or "")
            cells = next(csv.reader([*texts, last.text or ""], self._dialect))
            return Row(line.offset, line.number, cells, "", line.is_joint)
        self._pop()
        if state != _TOO_LONG:
            return Row(line.offset, line.number, [], _UNCLOSED, line.is_joint)
        if self._width is not None:
            self._skip_text(self._width - columns_before)
        return Row(line.offset, line.number, [], TOO_LONG, line.is_joint)

    def _follow(self, start: Line) -> tuple[int, Line]:
        """How the record that `start` opens ends, and the last line that was looked at."""
        while True:
            last = self._window[self._known - self._first]
            if last.end - start.offset > self._limit:
                return _TOO_LONG, last
            if self._stop is not None:
                break
            self._look_inside()
        ending = self._at(self._known + 1 - self._first)
        if ending is None:
            return _BAD, last
        return (_TOO_LONG if ending.end - start.offset > self._limit else self._stop), ending

    def _look_inside(self) -> None:
        """Looks at the line behind those that are known to leave the mark open."""
        last, line = self._known - self._first, self._at(self._known + 1 - self._first)
        if line is None:
            self._stop = _BAD
            return
        before = self._window[last].total if last >= 0 else self._total
        state, columns = line.inside(self._dialect)
        line.total = before + columns
        if state == _OPEN:
            self._known += 1
        else:
            self._stop = state

    def _skip_text(self, total: int) -> None:
        """Where an overlong record, whose first line has been taken, is a long text and no stray mark before rows: skips up
        to the line where its mark is closed and `total` columns have ended, or where rows begin again."""
        sample = [line for line in self._ahead(_SAMPLE_LINES) if line.text is None or line.text.strip("\r\n")]
        if 2 * sum(map(self._is_row, sample)) > len(sample):
            return
        while (line := self._at(0)) is not None:
            while self._stop is None and self._known < self._first:
                self._look_inside()
            is_end = self._known < self._first
            if is_end and self._stop == _CLOSED and line.total == total:
                self._pop()
                return
            # A line of a text may look like a row, several do not.
            if all(map(self._is_row, self._ahead(_ROWS_AGAIN))):
                return
            if is_end:
                # Another mark in the text: it goes on.
                self._known, self._stop = self._first, None
            self._pop()

    def _is_row(self, line: Line) -> bool:
        state, cells, _ = line.start(self._dialect)
        return state == _CLOSED and len(cells) == self._width

    def _ahead(self, num_lines: int) -> list[Line]:
        """The next lines, at most so many and not many more bytes than the limit."""
        found: list[Line] = []
        while len(found) < num_lines and (line := self._at(len(found))) is not None:
            found.append(line)
            if line.end - found[0].offset > self._limit:
                break
        return found

    def _at(self, place: int) -> Line | None:
        """The line at `place` of the window, None behind the end of the file."""
        while len(self._window) <= place:
            piece = next(self._lines, None)
            if piece is None:
                return None
            self._window.append(Line(piece, self._limit))
        return self._window[place]

    def _pop(self) -> Line:
        line = self._window.popleft()
        self._first += 1
        self._total = line.total
        return line
