"""Reading: documents and bad records of every format, ids, groups of files."""

import gzip
import hashlib
import io
import os
from pathlib import Path

import pytest

from clozekit.pipelines.files import InputFile, find_inputs
from clozekit.pipelines.options import ReadOptions
from clozekit.pipelines.read import BadRecord, Document, document_id, group_files, read_file, read_json_lines, read_text
from clozekit.tokenizers.errors import InputError


@pytest.mark.parametrize(
    ("kind", "content", "texts"),
    [
        ("file", b"one\n\ntwo\n", ["one\n\ntwo\n"]),
        ("line", b"one\r\n\n two\nlast", ["one", " two", "last"]),
        ("block", b"\n\none\nmore\n\n\ntwo\n", ["one\nmore\n", "two\n"]),
        ("block", b"", []),
        ("file", "naïve ½".encode(), ["naïve ½"]),
    ],
)
def test_text_documents(kind: str, content: bytes, texts: list[str]) -> None:
    assert list(read_text(io.BytesIO(content), kind, "a.txt")) == [Document(None, text) for text in texts]


@pytest.mark.parametrize(
    ("kind", "position"), [("file", "the whole file"), ("line", "line 2"), ("block", "the block from line 2")]
)
def test_invalid_utf8_is_a_bad_record_with_its_place(kind: str, position: str) -> None:
    content = b"\nab\xff\n" if kind != "file" else b"ab\xff"
    (record,) = read_text(io.BytesIO(content), kind, "a.txt")
    assert isinstance(record, BadRecord)
    assert (record.source, record.position) == ("a.txt", position)
    assert "byte 2 (ff)" in record.reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id": "a", "text": "hello"}', Document("a", "hello")),
        (b'{"id": 7, "text": "hello"}', Document("7", "hello")),
        (b'{"text": "hello", "id": null}', Document(None, "hello")),
        (b'{"body": "hello"}', "this one has the keys ['body']"),
        (b'{"text": 5}', "has a int there"),
        (b'["text"]', "is a list"),
        (b'{"text": "cut', "must be one JSON object"),
        (b'{"text": "\xff"}', "must be one JSON object"),
        (b'{"text": "\\ud800"}', "must be one JSON object"),
    ],
)
def test_json_lines(line: bytes, expected: Document | str) -> None:
    (record,) = read_json_lines(io.BytesIO(b"\n" + line + b"\n\n"), "text", "id", "a.jsonl")
    if isinstance(expected, Document):
        assert record == expected
    else:
        assert isinstance(record, BadRecord)
        assert record.position == "line 2"
        assert expected in record.reason


def test_the_id_is_the_key_or_the_hash_of_the_text() -> None:
    assert document_id(Document("key", "text")) == "key"
    assert document_id(Document(None, "text")) == hashlib.blake2b(b"text", digest_size=16).hexdigest()


def test_gzip_is_read_and_a_cut_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    whole = gzip.compress(b"hello " * 1000)
    path.write_bytes(whole)
    options = ReadOptions((str(path),))
    assert list(read_file(InputFile(str(path), 1, ""), options)) == [Document(None, "hello " * 1000)]
    for broken in (whole[:-20], b"no gzip at all"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"must be whole gzip, .*a\.txt\.gz is damaged or cut short"):
            list(read_file(InputFile(str(path), 1, ""), options))


def test_small_files_are_read_together_and_none_is_lost() -> None:
    files = [InputFile(f"{number}", size, "") for number, size in enumerate([900_000, 900_000, 900_000, 5_000_000, 10])]
    groups = group_files(files)
    assert [len(group) for group in groups] == [2, 1, 1, 1]
    assert [file for group in groups for file in group] == files


def test_inputs_are_found_once_and_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a.jsonl", "sub/c.md.gz", "x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    directory = find_inputs((str(tmp_path),))
    assert [os.path.relpath(file.path, tmp_path) for file in directory] == ["a.jsonl", "b.txt", "sub/c.md.gz"]
    (tmp_path / "b[1].text").write_text("xy", encoding="utf-8")
    assert [file.num_bytes for file in find_inputs((f"{tmp_path}/b[1].text",))] == [2]
    both = find_inputs((f"{tmp_path}/*.txt", f"{tmp_path}/b.txt"))
    assert [file.num_bytes for file in both] == [1]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{}/*.none", r"'.*/\*\.none' matches no file"),
        ("{}/missing.txt", "does not exist"),
        ("{}/empty", "must hold text .* holds none"),
    ],
)
def test_an_input_that_names_nothing_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_inputs((pattern.format(tmp_path),))


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, whom no permission stops.
    from fsspec.implementations.local import LocalFileSystem

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.txt"
    path.write_text("x", encoding="utf-8")
    monkeypatch.setattr(LocalFileSystem, "open", refuse)
    with pytest.raises(
        InputError, match=r"must be readable, .*a\.txt is not \(Permission denied\); check its permissions"
    ):
        find_inputs((str(path),))
