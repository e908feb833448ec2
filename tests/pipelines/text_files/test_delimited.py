"""Delimited files: what a stray quotation mark, a cell above the limit and odd line ends cost, in rows and in work."""

import csv
import gzip
import io
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clozekit.model.training.finetuning.examples.labelled_texts import Columns, read_labelled_texts
from clozekit.pipelines.reading.read_documents import WorkItem, read_item
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.text_files import quoted_records
from clozekit.pipelines.text_files.delimited import Row, column_place, read_rows
from clozekit.tokenizers.common.errors import InputError

LIMIT = 1 << 15


def rows_of(content: bytes | str, quoted: bool = True, limit: int = LIMIT, delimiter: str = ",") -> list[Row]:
    content = content.encode() if isinstance(content, str) else content
    return list(read_rows(io.BytesIO(content), limit, delimiter, quoted, "a.csv"))


def good(rows: Iterable[Row]) -> list[list[str]]:
    return [row.cells for row in rows if not row.problem]


def bad_lines(rows: Iterable[Row]) -> list[int]:
    return [row.line for row in rows if row.problem]


TABLE = [["id", "text"], *([str(number), f"text {number}"] for number in range(1, 9))]


@pytest.mark.parametrize(
    ("name", "line", "cells"),
    [
        ("a field that opens", '3,"text 3', None),
        ("a first field that opens", '"3,text 3', None),
        ("a mark in the middle is text", '3,te"xt', ["3", 'te"xt']),
        ("a mark behind the closing one", '3,"te"xt', None),
        ("a doubled mark never closes", '3,"text""', None),
        ("a mark alone", '3,"', None),
        ("a whole quoted field", '3,"te,x""t"', ["3", 'te,x"t']),
        ("two lines in quotes", '3,"te\nxt"', ["3", "te\nxt"]),
        ("too many fields", "3,te,xt", None),
        ("a carriage return alone", "3,te\rxt", None),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_bad_row_costs_itself_alone(name: str, line: str, cells: list[str] | None, place: int) -> None:
    lines = [",".join(row) for row in TABLE[1:]]
    lines[place] = line
    rows = rows_of("\n".join(["id,text", *lines]))
    assert good(rows) == [TABLE[0], *TABLE[1 : place + 1], *([cells] if cells else []), *TABLE[place + 2 :]]
    assert bad_lines(rows) == ([] if cells else [place + 2])
    plain = rows_of("\n".join(["id,text", *lines]), quoted=False)
    assert len(good(plain)) >= len(TABLE) - 1


def test_rows_behind_an_open_mark_that_other_quoted_rows_seem_to_close() -> None:
    """`5,"a, b"` closes what row 2 opened, and then goes on: that is no field, so the mark of row 2 is a stray one."""
    content = 'id,text\n1,a\n2,"b\n3,c\n5,"a, b"\n6,",x"\n7,"two\nlines"\n8,"never\n'
    rows = rows_of(content)
    assert good(rows) == [["id", "text"], ["1", "a"], ["3", "c"], ["5", "a, b"], ["6", ",x"], ["7", "two\nlines"]]
    assert bad_lines(rows) == [3, 9]


class _Counting:
    """csv.reader that counts the characters it is given."""

    def __init__(self) -> None:
        self.characters = 0
        self._make = csv.reader
        self.module = SimpleNamespace(reader=self.reader, Error=csv.Error, Dialect=csv.Dialect)

    def reader(self, lines: Iterable[str], *arguments: Any, **options: Any) -> Any:
        return self._make(self._counted(iter(lines)), *arguments, **options)

    def _counted(self, lines: Iterator[str]) -> Iterator[str]:
        counting = self

        class Lines:
            def __iter__(self) -> "Lines":
                return self

            def __next__(self) -> str:
                line = next(lines)
                counting.characters += len(line)
                return line

        return Lines()


@pytest.mark.parametrize("line", ['1,"x\n', 'a","b\n', '"""\n', '""a\n', '"a,b\n', '1,"a""\n', ',"\n', 'x,"",""\n'])
@pytest.mark.parametrize("limit", [200, LIMIT])
def test_work_is_linear_however_many_marks_are_open(line: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each character is parsed four times at most: by the reader of sound rows, as the start of a record, as the inside
    of one, and in the record at last. A second look at everything behind each mark would make thousands of times."""
    counting = _Counting()
    monkeypatch.setattr(quoted_records, "csv", counting.module)
    content = "id,text\n" + line * 2000
    rows = rows_of(content, limit=limit)
    assert len(rows) > 1
    # A few characters a line are marks that are put before and behind it.
    assert counting.characters <= 4 * len(content) + 4 * 2000


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("one line", "x" * 3 * LIMIT),
        ("many lines", "some words of prose\n" * (LIMIT // 6)),
        ("lines with commas", "some words, of prose\nand more\n\n" * (LIMIT // 10)),
        ("lines with marks", 'he said ""so"" again\n' * (LIMIT // 6)),
        ("a line above the limit in it", "prose\n" + "x" * 2 * LIMIT + "\nprose\n"),
    ],
)
@pytest.mark.parametrize("header", ["id,text", "text,id", "id,text,label"])
def test_a_cell_above_the_limit_is_one_bad_row(name: str, cell: str, header: str) -> None:
    names = header.split(",")

    def row(text: str) -> str:
        return ",".join(f'"{text}"' if name == "text" else "9" for name in names)

    before, after = [row(f"before {n}") for n in range(3)], [row(f"after {n}") for n in range(3)]
    rows = rows_of("\n".join([header, *before, row(cell), *after]))
    assert [cells[names.index("text")] for cells in good(rows)[1:]] == [
        *(f"before {n}" for n in range(3)),
        *(f"after {n}" for n in range(3)),
    ]
    assert bad_lines(rows) == [5]


def test_a_stray_mark_with_more_than_the_limit_behind_it_costs_its_row_alone() -> None:
    lines = [f"{number},text {number}" for number in range(1000)]
    lines[100] = '100,"text'
    rows = rows_of("\n".join(["id,text", *lines]), limit=500)
    assert len(good(rows)) == 1000 and bad_lines(rows) == [102]
    # What lies behind a cell that is too long and is never closed is read again once rows follow one another.
    prose = '\n7,"' + "prose without an end\n" * 500
    rows = rows_of("id,text" + prose + "\n".join(lines[:50]), limit=500)
    assert len(good(rows)) == 51 and bad_lines(rows) == [2]


@pytest.mark.parametrize(
    ("content", "quoted", "message"),
    [
        ('"id,text\n1,a\n', True, "must be a row, that of a.csv is not: a quotation mark must be closed"),
        ('id,"a"b\n1,a\n', True, "must be a row, that of a.csv is not: a row must be valid CSV"),
        ("id,text\r1,a\r2,b\r", True, r"must end with \\n or \\r\\n, the first one of a.csv has \\r alone"),
        ("id\ttext\r1\ta\r", False, r"must end with \\n or \\r\\n, the first one of a.csv has \\r alone"),
        ("x" * 2 * LIMIT, True, "that of a.csv is not: a row must fit into the limit"),
        ("x" * 2 * LIMIT, False, "that of a.csv is not: a row must fit into the limit"),
    ],
)
def test_a_first_line_that_is_no_row_is_refused(content: str, quoted: bool, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rows_of(content, quoted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quoted", [True, False])
def test_line_ends_marks_and_joined_files(quoted: bool) -> None:
    bom = "\ufeff"
    assert good(rows_of(f"{bom}a,b\r\n1,2\r\n\r\n3,4", quoted)) == [["a", "b"], ["1", "2"], ["3", "4"]]
    joined = f"{bom}a,b\n1,2\n{bom}a,b\n3,4\n{bom}5,6\na,b\n"
    # The header of the second file is none of its rows; without a mark it may be one.
    assert good(rows_of(joined, quoted)) == [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"], ["a", "b"]]
    assert rows_of("", quoted) == rows_of("\n\r\n", quoted) == []
    assert good(rows_of("\n\na,b\n1,2\n", quoted)) == [["a", "b"], ["1", "2"]]
    assert good(rows_of("a,\n1,\n", quoted)) == [["a", ""], ["1", ""]]


def test_columns_that_are_missing_or_stand_twice() -> None:
    assert column_place("text", ["", "", "text"], "a.csv", "x") == 2
    with pytest.raises(InputError, match=r"must have the column 'text', a.csv has \['id'\]; pass --text-key"):
        column_place("text", ["id"], "a.csv", "pass --text-key")
    with pytest.raises(InputError, match="must stand once in the header, a.csv has 'text' 2 times; rename"):
        column_place("text", ["text", "id", "text"], "a.csv", "x")


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_by_the_csv_module_is_read_as_it_was(seed: int) -> None:
    dice = random.Random(seed)
    buffer = io.StringIO()
    writer = csv.writer(
        buffer, lineterminator=dice.choice(["\n", "\r\n"]), quoting=dice.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    )
    table = [["a", "b", "c"]] + [
        ["".join(dice.choices('ab ,"\né\u2028', k=dice.randint(1, 9))) for _ in range(3)] for _ in range(50)
    ]
    writer.writerows(table)
    rows = rows_of(buffer.getvalue())
    assert good(rows) == table and bad_lines(rows) == []


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("packed", [False, True])
def test_prepare_and_finetune_read_the_same_rows(suffix: str, packed: bool, tmp_path: Path) -> None:
    """10,000 rows with a stray mark in row 9,001: a CSV loses that row, a TSV none."""
    delimiter = "," if suffix == "csv" else "\t"
    lines = [f"text {number}{delimiter}{number % 2}" for number in range(10_000)]
    lines[9000] = f'"text 9000 opens{delimiter}1'
    content = ("\n".join([f"text{delimiter}y", *lines]) + "\n").encode()
    path = tmp_path / (f"a.{suffix}.gz" if packed else f"a.{suffix}")
    path.write_bytes(gzip.compress(content) if packed else content)
    item = WorkItem(0, InputFile(str(path), path.stat().st_size, ""), 0)
    read = [record for _, record in read_item(item, ReadSettings((str(path),)))]
    texts = [record.text for record in read if not isinstance(record, DeadLetter)]
    letters = [record for record in read if isinstance(record, DeadLetter)]
    assert len(texts) == (9999 if suffix == "csv" else 10_000)
    assert [letter.position for letter in letters] == (["line 9002"] if suffix == "csv" else [])
    examples = read_labelled_texts(str(path), Columns("text", None, "y", skip_bad_rows=True))
    assert (list(examples.texts), examples.num_skipped) == (texts, len(letters))


def test_quoting_is_an_option_of_both(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\ty\n"one\ttwo"\t1\n"three"\t0\n', encoding="utf-8")
    item = WorkItem(0, InputFile(str(path), 1, ""), 0)
    read = [record for _, record in read_item(item, ReadSettings((str(path),), quoting="double"))]
    assert [record.text for record in read if not isinstance(record, DeadLetter)] == ["one\ttwo", "three"]
    examples = read_labelled_texts(str(path), Columns("text", None, "y", quoting="double"))
    assert examples.texts == ("one\ttwo", "three")
    with pytest.raises(InputError, match="quoting must be one of auto, double, none, got 'single'"):
        ReadSettings((str(path),), quoting="single")
