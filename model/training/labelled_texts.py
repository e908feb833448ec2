"""Labelled texts, or pairs of texts, from TSV, CSV and JSON-lines files: columns by name, one line for what is wrong."""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import numpy as np

from clozekit.tokenizers.errors import InputError

FORMATS = ("auto", "tsv", "csv", "jsonl")


@dataclass(frozen=True)
class Columns:
    """Where a file holds what: names of its header, keys of its JSON lines, or numbers from 0 where there is no header.

    file_format: "tsv" (a tab ends a field, quotes mean nothing), "csv" (fields with commas stand in double quotes),
    "jsonl", or "auto" (by the name of the file).
    """

    text: str
    text_pair: str | None = None
    label: str | None = None
    header: bool = True
    file_format: str = "auto"
    skip_bad_rows: bool = False

    def used(self) -> list[str]:
        return [name for name in (self.text, self.text_pair, self.label) if name is not None]


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

    def __len__(self) -> int:
        return len(self.texts)

    def taken(self, places: Sequence[int]) -> "LabelledTexts":
        """The examples at `places`, in that order."""

        fields: dict[str, Any] = {name: getattr(self, name) for name in ("texts", "pairs", "labels", "lines")}
        taken: dict[str, Any] = {
            name: tuple(values[place] for place in places) for name, values in fields.items() if values
        }
        return dataclasses.replace(self, **taken)


def read_labelled_texts(path: str, columns: Columns) -> LabelledTexts:
    """Reads a local file or any fsspec URL, plain or compressed.

    Raises InputError naming the file and the line for a column that is missing, a row of another number of fields, text
    that is no text, or a file without examples. With skip_bad_rows such rows are counted instead.
    """
    content = _content(path)
    rows: list[tuple[int, list[str]]] = []
    num_skipped = 0
    for line, row in _rows(content, path, columns):
        if isinstance(row, str):
            if not columns.skip_bad_rows:
                raise InputError(f"{path}, line {line}: {row}; mend the row, or set data.skip_bad_rows=true")
            num_skipped += 1
        else:
            rows.append((line, row))
    if not rows:
        raise InputError(f"{path} must hold at least one example, it holds none; check the file")
    fields = list(zip(*(row for _, row in rows), strict=True))
    texts = fields.pop(0)
    pairs = fields.pop(0) if columns.text_pair is not None else ()
    labels = fields.pop(0) if columns.label is not None else ()
    lines = tuple(line for line, _ in rows)
    return LabelledTexts(path, texts, pairs, labels, lines, num_skipped, hashlib.sha256(content).hexdigest())


def _content(path: str) -> bytes:
    try:
        with fsspec.open(path, "rb", compression="infer") as stream:
            return bytes(stream.read())
    except (OSError, EOFError, ImportError, ValueError) as error:
        raise InputError(
            f"labelled texts must be in a readable file, {path} is not ({error}); check the path"
        ) from error


def _format(path: str, file_format: str) -> str:
    if file_format != "auto":
        return file_format
    suffixes = PurePosixPath(path).suffixes
    for suffix, found in ((".tsv", "tsv"), (".csv", "csv"), (".jsonl", "jsonl"), (".json", "jsonl"), (".txt", "tsv")):
        if suffix in suffixes[-2:]:
            return found
    raise InputError(
        f"labelled texts must be .tsv, .csv or .jsonl, {path} is neither; name it so or set data.format=tsv"
    )


def _rows(content: bytes, path: str, columns: Columns) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, the fields of `columns.used()`), or what is wrong with the row in place of the fields."""
    try:
        # Some files of GLUE begin with a byte-order mark, which would stick to the first column's name.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8, byte {error.start} is not; convert the file to UTF-8") from error
    kind = _format(path, columns.file_format)
    if kind == "jsonl":
        yield from _json_rows(text, columns)
        return
    table = _tsv_rows(text) if kind == "tsv" else _csv_rows(text, path)
    first = next(table, None)
    if first is None:
        return
    names = first[1] if columns.header else [str(number) for number in range(len(first[1]))]
    places = [_place(name, names, path, columns.header) for name in columns.used()]
    if not columns.header:
        yield first[0], [first[1][place] for place in places]
    for line, row in table:
        if len(row) != len(names):
            yield line, f"a row must have {len(names)} fields as the first line has, it has {len(row)}"
        else:
            yield line, [row[place] for place in places]


def _place(name: str, names: Sequence[str], path: str, header: bool) -> int:
    if name not in names:
        have = f"it has {', '.join(map(repr, names))}" if header else f"it has {len(names)}, numbered from 0"
        raise InputError(f"{path} must have the column {name!r}, {have}; name the columns in data.text, data.text_pair"
                         " and data.label, and say data.header=false where the first line is no header")  # fmt: skip
    return list(names).index(name)


def _tsv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    # Not str.splitlines: form feeds and Unicode's line separators belong to the texts.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.rstrip("\r"):
            yield number, line.rstrip("\r").split("\t")


def _csv_rows(text: str, path: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # 131,072 characters otherwise: less than a long document
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: the file must be CSV, it is not ({error})") from error


def _json_rows(text: str, columns: Columns) -> Iterator[tuple[int, list[str] | str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            yield number, "a line must be one JSON object, this one is not"
            continue
        missing = [name for name in columns.used() if name not in fields]
        if missing:
            yield number, f"a JSON line must have the key {missing[0]!r}, this one has {', '.join(map(repr, fields))}"
            continue
        texts = [name for name in (columns.text, columns.text_pair) if name is not None]
        wrong = [name for name in texts if not isinstance(fields[name], str)]
        if wrong:
            yield number, f"{wrong[0]!r} must hold text, it holds {json.dumps(fields[wrong[0]])[:40]}"
        elif columns.label is not None and not isinstance(fields[columns.label], str | int | float):
            yield (
                number,
                f"{columns.label!r} must hold a name or a number, it holds {json.dumps(fields[columns.label])[:40]}",
            )
        else:
            yield (
                number,
                [value if isinstance(value := fields[name], str) else json.dumps(value) for name in columns.used()],
            )


def label_names(examples: LabelledTexts) -> tuple[str, ...]:
    """The names of the classes, in the order of their ids: by number where all are whole numbers, else by name."""
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
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def label_ids(examples: LabelledTexts, names: Sequence[str], source: str) -> np.ndarray:
    """int32 (N,): the id of each label. Raises InputError for one that is not among `names`, those of `source`."""
    ids = {name: number for number, name in enumerate(names)}
    for line, label in zip(examples.lines, examples.labels, strict=True):
        if label not in ids:
            raise InputError(
                f"{examples.source}, line {line}: a label must be one of {', '.join(map(repr, names))} as in {source},"
                f" got {label!r}; mend the file, or name all labels in data.labels"
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
