"""Labelled texts, or pairs of texts, from TSV, CSV and JSON-lines files: columns by name, one line for what is wrong."""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeAlias, TypeVar

import numpy as np

from clozekit.model.training.settings.columns import LABELS_BETWEEN, Columns
from clozekit.pipelines.text_files.delimited import (
    DEFAULT_MAX_ROW_BYTES,
    DELIMITERS,
    TOO_LONG,
    Row,
    column_place,
    is_quoted,
    is_unicode,
    read_rows,
)
from clozekit.pipelines.text_files.file_states import check_unchanged, states_of
from clozekit.pipelines.text_files.json_lines import name_of, numbered_lines, parse_object
from clozekit.pipelines.text_files.open_input import bare_name, open_input
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import reason_of

_SUFFIXES = {
    ".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".txt": "tsv",
}  # fmt: skip
# What stands in a field: texts, and labels as JSON has them.
Cell: TypeAlias = str | int | float
T = TypeVar("T")


@dataclass(frozen=True)
class LabelledTexts:
    """The examples of one file. pairs and labels are empty where there are none; lines: where each example stands."""

    source: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    num_skipped: int
    sha256: str
    kinds: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def taken(self, places: Sequence[int]) -> "LabelledTexts":
        """The examples at `places`, in that order."""

        def of(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[place] for place in places) if values else ()

        return dataclasses.replace(
            self,
            texts=of(self.texts),
            pairs=of(self.pairs),
            labels=of(self.labels),
            lines=of(self.lines),
            kinds=of(self.kinds),
        )


def read_labelled_texts(path: str, columns: Columns) -> LabelledTexts:
    """Reads a local file or any fsspec URL, plain or compressed.

    Raises InputError naming the file and the line for a column that is missing, a row of another number of fields, text
    that is no text, or a file without examples. With skip_bad_rows such rows are counted instead.
    """
    content = content_of(path)
    rows: list[tuple[int, list[Cell]]] = []
    num_skipped = 0
    for line, row in _rows(content, path, columns):
        if isinstance(row, str):
            if not columns.skip_bad_rows:
                raise InputError(f"{path}, line {line}: {row}; correct the row, or set data.skip_bad_rows=true")
            num_skipped += 1
        else:
            rows.append((line, row))
    if not rows:
        raise InputError(f"{path} must hold at least one example, it holds none; check the file")
    fields = list(zip(*(row for _, row in rows), strict=True))
    texts = fields.pop(0)
    pairs = fields.pop(0) if columns.text_pair is not None else ()
    values = fields.pop(0) if columns.label is not None else ()
    lines = tuple(line for line, _ in rows)
    labels = tuple(value if isinstance(value, str) else json.dumps(value) for value in values)
    if columns.label_separator is not None and _format(path, columns.file_format) != "jsonl":
        labels = tuple(_joined(label.split(columns.label_separator)) for label in labels)
    kinds = tuple(_kind(value) for value in values)
    sha256 = hashlib.sha256(content).hexdigest()
    return LabelledTexts(path, texts, pairs, labels, lines, num_skipped, sha256, kinds)


def _joined(labels: Sequence[str]) -> str:
    """The labels of one text in one, each once."""
    return LABELS_BETWEEN.join(dict.fromkeys(label.strip() for label in labels if label.strip()))


def _kind(label: Cell) -> str:
    """What a label is; a whole number and its digits are one."""
    if isinstance(label, bool):
        return "true or false"
    return "a number with a fraction" if isinstance(label, float) else "text or a whole number"


def content_of(path: str) -> bytes:
    """The text of a file, whole. Raises InputError for one that can't be read, or changes while it is."""
    with _readable(path):
        before = states_of([path])
        with open_input(path, text=True) as stream:
            content = stream.read()
        check_unchanged(before)
        return content


def check_head(path: str, columns: Columns | None) -> None:
    """Raises InputError for a file that can't be read, and, where it is a table, for a column that its first line does not have."""
    kind = None if columns is None else _format(path, columns.file_format)
    first = None
    with _readable(path), open_input(path, text=True) as stream:
        if columns is None or kind is None or kind == "jsonl":
            stream.read(1)
        else:
            quoted = is_quoted(kind, columns.quoting)
            first = next(read_rows(stream, DEFAULT_MAX_ROW_BYTES, DELIMITERS[kind], quoted, path), None)
    if first is not None and columns is not None:
        _places(first, path, columns)


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    # The clients of stores share no class of errors.
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else reason_of(error)
        raise InputError(
            f"labelled texts must be in a readable file, {path} is not ({reason}); check the file"
        ) from error


def _places(first: Row, path: str, columns: Columns) -> list[int]:
    """Which cells of a row are its columns, by the first line of a table."""
    names = first.cells if columns.header else [str(number) for number in range(len(first.cells))]
    return [_place(name, names, path, columns.header) for name in columns.used()]


def _format(path: str, file_format: str) -> str:
    if file_format in ("tsv", "csv", "jsonl"):
        return file_format
    if file_format != "auto":
        raise InputError(f"labelled texts must be tsv, csv or jsonl, got data.format={file_format}; choose one")
    name = bare_name(path)
    for suffix, found in _SUFFIXES.items():
        if name.endswith(suffix):
            return found
    raise InputError(
        f"labelled texts must be .tsv, .csv or .jsonl, {path} is neither; name it so or set data.format=tsv"
    )


def _rows(content: bytes, path: str, columns: Columns) -> Iterator[tuple[int, list[Cell] | str]]:
    """(line number, the fields of `columns.used()`), or what is wrong with the row in place of the fields."""
    kind = _format(path, columns.file_format)
    if kind == "jsonl":
        yield from _json_rows(content, columns)
        return
    quoted = is_quoted(kind, columns.quoting)
    table = read_rows(io.BytesIO(content), DEFAULT_MAX_ROW_BYTES, DELIMITERS[kind], quoted, path, header=columns.header)
    first = next(table, None)
    if first is None:
        return
    places = _places(first, path, columns)
    for row in table if columns.header else itertools.chain([first], table):
        if row.problem:
            yield row.line, _problem(row, len(first.cells))
            continue
        cells = [row.cells[place] for place in places]
        yield row.line, list[Cell](cells) if all(map(is_unicode, cells)) else _bad_byte(content, row)


def _place(name: str, names: list[str], path: str, header: bool) -> int:
    if name not in names:
        have = f"it has {', '.join(map(repr, names))}" if header else f"it has {len(names)}, numbered from 0"
        raise InputError(f"{path} must have the column {name!r}, {have}; name the columns in data.text, data.text_pair"
                         " and data.label, and say data.header=false where the first line is no header")  # fmt: skip
    return column_place(name, names, path, "")


def _problem(row: Row, num_columns: int) -> str:
    if row.cells:
        return f"a row must have {num_columns} fields as the first line has, it has {len(row.cells)}"
    return row.problem if row.problem == TOO_LONG else f"the file must be CSV, it is not ({row.problem})"


def _bad_byte(content: bytes, row: Row) -> str:
    try:
        content[row.offset :].decode()
    except UnicodeDecodeError as error:
        return f"text must be UTF-8, byte {row.offset + error.start} is not"
    raise AssertionError(f"{row} was not UTF-8, its bytes are")


def _json_rows(content: bytes, columns: Columns) -> Iterator[tuple[int, list[Cell] | str]]:
    for number, line in numbered_lines(content):
        try:
            fields = parse_object(line)
            # Whole numbers of any length keep their digits.
            row: list[Cell | None] = [
                name_of(line, fields, name) if name in fields else None for name in columns.used()
            ]
        except InputError as error:
            yield number, str(error).removesuffix("; correct it")
            continue
        missing = [name for name in columns.used() if name not in fields]
        if missing:
            yield number, f"a JSON line must have the key {missing[0]!r}, this one has {', '.join(map(repr, fields))}"
            continue
        num_texts = 1 if columns.text_pair is None else 2
        wrong = [
            name for name, value in zip(columns.used(), row[:num_texts], strict=False) if not isinstance(value, str)
        ]
        if wrong:
            yield number, f"{wrong[0]!r} must hold text, it holds {json.dumps(fields[wrong[0]])[:40]}"
        elif columns.label_separator is not None and columns.label is not None:
            held = row[-1]
            if isinstance(held, list) and all(isinstance(label, str) for label in held):
                yield number, [*(value for value in row[:num_texts] if value is not None), _joined(held)]
            else:
                yield (
                    number,
                    f"{columns.label!r} must hold a list of names, it holds {json.dumps(fields[columns.label])[:40]}",
                )
        elif columns.label is not None and not isinstance(row[-1], str | int | float):
            held = json.dumps(fields[columns.label])[:40]
            yield number, f"{columns.label!r} must hold a name or a number, it holds {held}"
        else:
            yield number, [value for value in row if value is not None]


def check_one_kind(examples: LabelledTexts) -> None:
    """Raises InputError where labels that look alike are of several kinds, or one number is written in several ways:
    they would silently be several classes."""
    lines: dict[str, int] = {}
    for line, kind in zip(examples.lines, examples.kinds, strict=True):
        lines.setdefault(kind, line)
    if len(lines) > 1:
        (kind, line), (other, other_line) = list(lines.items())[:2]
        raise InputError(
            f"{examples.source}, line {other_line}: all labels of a file must be of one kind, this one is {other}, that of"
            f" line {line} is {kind}; write them alike"
        )
    firsts: dict[str, int] = {}
    for line, label in zip(examples.lines, examples.labels, strict=True):
        firsts.setdefault(label, line)
    numbers: dict[Decimal, str] = {}
    for label, line in firsts.items():
        if (number := _number(label)) is None:
            continue
        if number in numbers:
            raise InputError(
                f"{examples.source}, line {line}: a number must be written in one way to be one class, it is {label!r} here"
                f" and {numbers[number]!r} in line {firsts[numbers[number]]}; write them alike"
            )
        numbers[number] = label


def _number(label: str) -> Decimal | None:
    try:
        number = Decimal(label)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def label_names(examples: LabelledTexts) -> tuple[str, ...]:
    """The names of the classes, in the order of their ids: by number where all are whole numbers, else by name."""
    check_one_kind(examples)
    found = set(examples.labels)
    if len(found) < 2:
        raise InputError(
            f"{examples.source} must have at least two labels to tell apart, it has {', '.join(map(repr, found))} alone;"
            " for numbers to be predicted set task=regression"
        )
    for name in found:
        if not name or "\t" in name or "\n" in name or "\r" in name:
            line = examples.lines[examples.labels.index(name)]
            raise InputError(
                f"{examples.source}, line {line}: a label must be a name on one line without tabs, got {name!r}"
            )
    if all(name.removeprefix("-").isdecimal() for name in found):
        return tuple(sorted(found, key=Decimal))
    return tuple(sorted(found))


def label_ids(examples: LabelledTexts, names: Sequence[str], source: str) -> np.ndarray:
    """int32 (N,): the id of each label. Raises InputError for one that is not among `names`, those of `source`."""
    ids = {name: number for number, name in enumerate(names)}
    for line, label in zip(examples.lines, examples.labels, strict=True):
        if label not in ids:
            raise InputError(
                f"{examples.source}, line {line}: a label must be one of {', '.join(map(repr, names))} as in {source},"
                f" got {label!r}; correct the file, or name all labels in data.labels"
            )
    return np.array([ids[label] for label in examples.labels], np.int32)


def label_values(examples: LabelledTexts) -> np.ndarray:
    """float32 (N,): the labels of a regression. Raises InputError for one that is no number."""
    values = np.empty(len(examples.labels), np.float32)
    for place, (line, label) in enumerate(zip(examples.lines, examples.labels, strict=True)):
        try:
            values[place] = float(label)
        except ValueError:
            values[place] = np.nan
        if not np.isfinite(values[place]):
            raise InputError(
                f"{examples.source}, line {line}: the label of a regression must be a number, got {label!r};"
                " for names of classes set task=classification"
            )
    return values
