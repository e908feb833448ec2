"""Reading labelled texts: every format, and one line with file, line and remedy for whatever is wrong."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from clozekit.model.training.finetuning.examples.labelled_texts import (
    Columns,
    LabelledTexts,
    label_ids,
    label_names,
    label_values,
    read_labelled_texts,
)
from clozekit.tokenizers.common.errors import InputError

PAIRS = Columns("a", "b", "y")


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "y\tb\ta\n1\t\"two\tone, '\n0\tb2\ta2\n"),
        ("x.tsv", "\ufeffy\tb\ta\r\n1\t\"two\tone, '\r\n0\tb2\ta2"),
        ("x.csv", 'y,b,a\n1,"""two","one, \'"\n0,b2,a2\n'),
        ("x.jsonl", '{"a": "one, \'", "b": "\\"two", "y": 1}\n\n{"y": "0", "a": "a2", "b": "b2"}\n'),
    ],
)
def test_one_content_in_every_format(name: str, content: str, tmp_path: Path) -> None:
    examples = read_labelled_texts(write(tmp_path / name, content), PAIRS)
    assert examples.texts == ("one, '", "a2")
    assert examples.pairs == ('"two', "b2")
    assert examples.labels == ("1", "0")
    assert examples.num_skipped == 0


def test_lines_are_told_by_newlines_alone(tmp_path: Path) -> None:
    """Form feeds and Unicode's line separators belong to the text."""
    path = write(tmp_path / "x.tsv", "a\ty\none\x0ctwo\u2028three\x85\t1\n")
    assert read_labelled_texts(path, Columns("a", None, "y")).texts == ("one\x0ctwo\u2028three\x85",)


def test_csv_keeps_the_lines_and_lengths_of_its_texts(tmp_path: Path) -> None:
    long = "x" * 200_000
    path = write(tmp_path / "x.csv", f'a,y\n"one\ntwo",1\n{long},0\n')
    assert read_labelled_texts(path, Columns("a", None, "y")).texts == ("one\ntwo", long)


def test_columns_are_numbered_where_there_is_no_header_and_files_may_be_compressed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv.gz", gzip.compress(b"s\t1\t*\tone\nt\t0\t\ttwo\n"))
    examples = read_labelled_texts(path, Columns("3", None, "1", header=False))
    assert (examples.texts, examples.labels, examples.lines) == (("one", "two"), ("1", "0"), (1, 2))
    unlabelled = read_labelled_texts(path, Columns("3", header=False))
    assert unlabelled.labels == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", "", "must hold at least one example, it holds none"),
        ("x.tsv", "a\tb\ty\n", "must hold at least one example, it holds none"),
        ("x.tsv", "a\ty\none\t1\n", r"must have the column 'b', it has 'a', 'y'; name the columns in data.text"),
        (
            "x.tsv",
            "a\tb\ty\none\ttwo\t1\nthree\t0\n",
            "line 3: a row must have 3 fields as the first line has, it has 2",
        ),
        ("x.tsv", b"a\tb\ty\n\xff\tb\t1\n", "must be UTF-8, byte 6 is not"),
        ("x.csv", 'a,b,y\n"one,b,1\n', "line 2: the file must be CSV, it is not"),
        ("x.jsonl", "one\n", "line 1: a line must be one JSON object"),
        ("x.jsonl", '{"a": "x", "y": 1}\n', "line 1: a JSON line must have the key 'b', this one has 'a', 'y'"),
        ("x.jsonl", '{"a": "x", "b": 2, "y": 1}\n', "line 1: 'b' must hold text, it holds 2"),
        ("x.jsonl", '{"a": "x", "b": "z", "y": null}\n', "'y' must hold a name or a number, it holds null"),
        ("x.xml", "a", "must be .tsv, .csv or .jsonl"),
        ("x.tsv.gz", b"\x1f\x8b\x08\x00", "must be in a readable file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        read_labelled_texts(path, PAIRS)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_and_a_column_number_that_is_too_high(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be in a readable file, .*none.tsv is not"):
        read_labelled_texts(str(tmp_path / "none.tsv"), PAIRS)
    path = write(tmp_path / "x.tsv", "one\t1\n")
    with pytest.raises(InputError, match="must have the column '2', it has 2, numbered from 0"):
        read_labelled_texts(path, Columns("2", header=False))


def test_bad_rows_are_counted_where_they_may_be(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "a\tb\ty\none\ttwo\t1\ncut\nthree\tfour\t0\n")
    examples = read_labelled_texts(path, Columns("a", "b", "y", skip_bad_rows=True))
    assert (examples.texts, examples.num_skipped, examples.lines) == (("one", "three"), 1, (2, 4))


def labelled(tmp_path: Path, *labels: str) -> LabelledTexts:
    lines = "".join(f"text\t{label}\n" for label in labels)
    return read_labelled_texts(write(tmp_path / "labels.tsv", "a\ty\n" + lines), Columns("a", None, "y"))


def test_labels_become_ids_by_number_or_by_name(tmp_path: Path) -> None:
    numbers = labelled(tmp_path, "10", "-1", "9")
    assert label_names(numbers) == ("-1", "9", "10")
    names = labelled(tmp_path, "no", "yes", "maybe", "no")
    found = label_names(names)
    assert found == ("maybe", "no", "yes")
    ids = label_ids(names, found, "train")
    assert (ids.tolist(), ids.dtype) == ([1, 2, 0, 1], np.int32)


def test_labels_that_do_not_fit_are_named_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3: a label must be one of 'a', 'b' as in train.tsv, got 'c'"):
        label_ids(labelled(tmp_path, "a", "c"), ("a", "b"), "train.tsv")
    with pytest.raises(InputError, match="at least two labels to tell apart, it has 'a' alone"):
        label_names(labelled(tmp_path, "a", "a"))
    with pytest.raises(InputError, match="line 3: a label must be a name on one line without tabs, got ''"):
        label_names(labelled(tmp_path, "a", ""))
    assert label_values(labelled(tmp_path, "1.5", "-2")).tolist() == [1.5, -2.0]
    for bad in ("good", "nan", ""):
        with pytest.raises(InputError, match="line 3: the label of a regression must be a number, got"):
            label_values(labelled(tmp_path, "1", bad))


def json_labels(tmp_path: Path, *labels: str) -> LabelledTexts:
    lines = "".join(f'{{"a": "text", "y": {label}}}\n' for label in labels)
    return read_labelled_texts(write(tmp_path / "labels.jsonl", lines), Columns("a", None, "y"))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("1", '"1"', "0"), ("0", "1")),
        (("1.5", "2.0"), ("1.5", "2.0")),
        (("true", "false"), ("false", "true")),
        (("123456789012345678901", "123456789012345678902"), ("123456789012345678901", "123456789012345678902")),
    ],
)
def test_labels_of_one_kind_are_classes(labels: tuple[str, ...], names: tuple[str, ...], tmp_path: Path) -> None:
    assert label_names(json_labels(tmp_path, *labels)) == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ("1", "1.0"),
            "line 2: all labels of a file must be of one kind, this one is a number with a fraction, that of line 1",
        ),
        (("1", "0", "true"), "line 3: all labels of a file must be of one kind, this one is true or false"),
        (('"true"', "false"), "line 2: all labels of a file must be of one kind"),
        (("0.0", "false"), "line 2: all labels of a file must be of one kind"),
        (
            ('"1"', '"2"', '"1.0"'),
            "line 3: a number must be written in one way to be one class, it is '1.0' here and '1'",
        ),
        (("1", '"01"'), "line 2: a number must be written in one way"),
        (('"a"', '" 1"', '"1"'), "line 3: a number must be written in one way"),
    ],
)
def test_labels_that_would_silently_be_several_classes_are_refused(
    labels: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        label_names(json_labels(tmp_path, *labels))
    assert "labels.jsonl" in str(caught.value)


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "Infinity", '"\\udc00x"', '"\udcff"'])
def test_what_prepare_takes_for_no_json_is_none_here(value: str, tmp_path: Path) -> None:
    content = b'{"a": "one", "y": 1}\n{"a": "x", "y": %b}\n' % value.encode("utf-8", "surrogateescape")
    with pytest.raises(InputError, match=r"x.jsonl, line 2: a line must be one JSON object, this one is not"):
        read_labelled_texts(write(tmp_path / "x.jsonl", content), Columns("a", None, "y"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.csv",
            'a,b,y\n"one,b,1\none,two,1\n',
            r"line 2: the file must be CSV, it is not \(a quotation mark must be",
        ),
        ("x.csv", "a,b,b,y\none,two,2,1\n", "must stand once in the header, .* has 'b' 2 times"),
        ("x.tsv", "a\tb\ty\rone\ttwo\t1\r", r"must end with \\n or \\r\\n"),
        ("x.tsv", "a\tb\ty\n".encode("utf-16"), "begins with the mark of UTF-16"),
        ("x.tsv", gzip.compress(b"a\tb\ty\n", mtime=0), "holds gzip; give it the suffix .gz"),
    ],
)
def test_files_are_refused_as_prepare_refuses_them(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_labelled_texts(write(tmp_path / name, content), PAIRS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["X.TSV", "x.Csv", "x.ndjson", "X.JSONL", "x.txt"])
def test_suffixes_mean_the_same_in_any_case(name: str, tmp_path: Path) -> None:
    content = {"sv": "a\ty\none\t1\n", "xt": "a\ty\none\t1\n"}.get(name[-2:].lower(), '{"a": "one", "y": 1}\n')
    content = content.replace("\t", ",") if "csv" in name.lower() else content
    for suffix, compress in (("", bytes), (".GZ", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)):
        path = tmp_path / (name + suffix)
        path.write_bytes(compress(content.encode()))
        assert read_labelled_texts(str(path), Columns("a", None, "y")).texts == ("one",)


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tsv")
    for path in (str(tmp_path / "x.tsv"), "/dev/zero"):
        with pytest.raises(InputError, match=r"is not \(an input must be a file, .* is a (named pipe|device)"):
            read_labelled_texts(path, Columns("a", None, "y", file_format="tsv"))
