"""Reading: documents and bad records of every format, ids, groups of files."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from clozekit.pipelines.dataset.tfrecord import frame_records
from clozekit.pipelines.reading.input_files import find_inputs
from clozekit.pipelines.reading.read_documents import WorkItem, find_sources, group_items, read_item, split_files
from clozekit.pipelines.rows.mixture import num_copies, repeat_documents
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.running.documents import Document, make_batch
from clozekit.pipelines.settings.prepare_settings import ReadSettings, Source
from clozekit.pipelines.storage.files import InputFile
from clozekit.tokenizers.common.errors import InputError


def read(
    path: Path, content: bytes, start: int = 0, end: int | None = None, **options: Any
) -> list[Document | DeadLetter]:
    """Everything that one work item over `content`, written to `path`, gives."""
    path.write_bytes(content)
    item = WorkItem(0, InputFile(str(path), len(content), ""), 0, start, end)
    return [record for _, record in read_item(item, ReadSettings((str(path),), **options))]


@pytest.mark.parametrize(
    ("kind", "content", "texts"),
    [
        ("file", b"one\n\ntwo\n", ["one\n\ntwo\n"]),
        ("line", b"one\r\n\n two\nlast", ["one", " two", "last"]),
        ("block", b"\n\none\nmore\n\n\ntwo\n", ["one\nmore\n", "two\n"]),
        ("block", b"", []),
        ("file", "naïve ½".encode(), ["naïve ½"]),
        ("line", b"\xef\xbb\xbfone\ntwo", ["one", "two"]),
    ],
)
def test_text_documents(kind: str, content: bytes, texts: list[str], tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", content, document_kind=kind) == [Document(None, text) for text in texts]


@pytest.mark.parametrize(
    ("kind", "position", "offset"),
    [("file", "the whole file", 0), ("line", "line 2", 1), ("block", "the block from line 2", 1)],
)
def test_invalid_utf8_is_a_dead_letter_with_its_place(kind: str, position: str, offset: int, tmp_path: Path) -> None:
    content = b"\nab\xff\n" if kind != "file" else b"ab\xff"
    (letter,) = read(tmp_path / "a.txt", content, document_kind=kind)
    assert isinstance(letter, DeadLetter)
    assert letter[:4] == (str(tmp_path / "a.txt"), offset, position, "read")
    assert "byte 2 (ff)" in letter.reason
    assert "Traceback" in letter.traceback and "UnicodeDecodeError" in letter.traceback


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
def test_json_lines(line: bytes, expected: Document | str, tmp_path: Path) -> None:
    (record,) = read(tmp_path / "a.jsonl", b"\n" + line + b"\n\n")
    if isinstance(expected, Document):
        assert record == expected
    else:
        assert isinstance(record, DeadLetter)
        assert record.position == "line 2"
        assert expected in record.reason


@pytest.mark.parametrize("kind", ["line", "block"])
@pytest.mark.parametrize("seed", range(8))
def test_any_cut_into_ranges_gives_every_document_once(kind: str, seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    content = b"".join(dice.choices([b"\n", b" \t\n", b"a\n", b"bcd\r\n", b"e f\n", b"ghi"], k=60))
    path = tmp_path / "a.txt"
    whole = read(path, content, document_kind=kind)
    assert whole
    for _ in range(20):
        bounds = [0, *sorted(dice.sample(range(1, len(content)), 5))]
        parts = [
            read(path, content, start, end, document_kind=kind)
            for start, end in zip(bounds, [*bounds[1:], None], strict=True)
        ]
        assert [record for part in parts for record in part] == whole


def test_the_position_in_a_range_is_a_byte_of_the_file(tmp_path: Path) -> None:
    content = b'{"text": "a"}\n{"text": 1}\n'
    (letter,) = read(tmp_path / "a.jsonl", content, start=5)
    assert isinstance(letter, DeadLetter)
    assert (letter.offset, letter.position) == (14, "byte 14")


@pytest.mark.parametrize("kind", ["file", "line", "block"])
def test_a_record_above_the_limit_is_a_dead_letter_and_the_next_one_is_read(kind: str, tmp_path: Path) -> None:
    content = b"a\n\n" + b"x" * 3_000_000 + b"\ny\n\nb\n"
    records = read(tmp_path / "a.txt", content, document_kind=kind, max_document_mb=1)
    kinds = ["bad" if isinstance(record, DeadLetter) else record.text.strip() for record in records]
    assert kinds == {"file": ["bad"], "line": ["a", "bad", "y", "b"], "block": ["a", "bad", "b"]}[kind]
    (letter,) = (record for record in records if isinstance(record, DeadLetter))
    assert "a document may have 1 MB (--max-document-mb), this one has more" in letter.reason


def test_tables(tmp_path: Path) -> None:
    content = b'id,text\n1,"a, ""b""\nc"\n2\n3,\xff\n,d\n4,' + b"x" * 2_000_000 + b"\n5,e\n"
    records = read(tmp_path / "a.csv", content, max_document_mb=1)
    assert [record for record in records if isinstance(record, Document)] == [
        Document("1", 'a, "b"\nc'),
        Document(None, "d"),
        Document("5", "e"),
    ]
    letters = [record for record in records if isinstance(record, DeadLetter)]
    assert [letter.position for letter in letters] == ["line 4", "line 5", "line 7"]
    assert "must have the 2 columns" in letters[0].reason
    assert "must be UTF-8" in letters[1].reason
    assert "may have 1 MB (--max-document-mb), this one has more" in letters[2].reason
    assert read(tmp_path / "a.tsv", b"text\tid\nx y\t7\n") == [Document("7", "x y")]
    with pytest.raises(InputError, match=r"must have the column 'text', .*b\.csv has \['body'\]; pass --text-key"):
        read(tmp_path / "b.csv", b"body\nx\n")


def test_parquet_and_its_row_groups_in_ranges(tmp_path: Path) -> None:
    table = pa.table({"text": [*(f"text {number}" for number in range(99)), None], "id": list(range(100))})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=10)
    content = sink.getvalue()
    whole = read(tmp_path / "a.parquet", content)
    assert whole[:99] == [Document(str(number), f"text {number}") for number in range(99)]
    assert isinstance(whole[99], DeadLetter)
    assert (whole[99].offset, whole[99].position) == (99, "row 100")
    cut = len(content) // 4
    parts = [read(tmp_path / "a.parquet", content, *bounds) for bounds in ((0, cut), (cut, None))]
    assert all(parts)
    assert [record[:2] for part in parts for record in part] == [record[:2] for record in whole]
    with pytest.raises(InputError, match="must be whole, .* is damaged"):
        read(tmp_path / "b.parquet", content[:-9])


def test_examples_in_tfrecords(tmp_path: Path) -> None:
    columns = {"text": [[b"one"], None, [b"\xff"]], "id": [[7], [8], [9]]}
    arrays = [
        pa.array(columns["text"], pa.large_list(pa.large_binary())),
        pa.array(columns["id"], pa.large_list(pa.int64())),
    ]
    records = RecordBatchToExamplesEncoder(None).encode(pa.RecordBatch.from_arrays(arrays, names=list(columns)))
    found = read(tmp_path / "a.tfrecord", frame_records([*records, b"\xff\xff"]))
    assert found[0] == Document("7", "one")
    letters = [record for record in found if isinstance(record, DeadLetter)]
    assert [letter.position for letter in letters] == ["record 2", "record 3", "record 4"]
    reasons = ("must hold text under 'text'", "must be UTF-8", "must be a tf.train.Example")
    assert all(reason in letter.reason for reason, letter in zip(reasons, letters, strict=True))


def test_web_archives(tmp_path: Path) -> None:
    def record(kind: str, body: bytes, name: str, mime: str) -> bytes:
        head = (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{name}>\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
            f"WARC-Target-URI: http://a.test/{name}\r\nContent-Type: {mime}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body + b"\r\n\r\n"

    page = b"<html><head><script>x()</script></head><body><p>caf\xe9 one</p></body></html>"
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=latin-1\r\n\r\n"
    image = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG"
    content = b"".join(
        [
            record("warcinfo", b"software: x", "0", "application/warc-fields"),
            record("conversion", b"plain text\n", "1", "text/plain"),
            record("response", http + page, "2", "application/http; msgtype=response"),
            record("response", image, "3", "application/http; msgtype=response"),
            record("conversion", b"\xff", "4", "text/plain"),
        ]
    )
    found = read(tmp_path / "a.warc", content)
    assert found[:2] == [Document("<urn:uuid:1>", "plain text\n"), Document("<urn:uuid:2>", "café one")]
    assert len(found) == 3 and isinstance(found[2], DeadLetter)
    assert read(tmp_path / "b.wet.gz", gzip.compress(content))[:2] == found[:2]
    # Streams that can't seek.
    assert read(tmp_path / "b.warc.zst", pa.compress(content, "zstd", asbytes=True))[:2] == found[:2]
    assert read(tmp_path / "b.warc.xz", lzma.compress(content))[:2] == found[:2]


def test_the_id_is_the_key_or_the_hash_of_the_text() -> None:
    batch = make_batch([3, 4], ["key", None], ["text", "text"], [0, 1], [0, 9])
    assert batch.column("id").to_pylist() == ["key", hashlib.blake2b(b"text", digest_size=16).hexdigest()]


@pytest.mark.parametrize(
    ("suffix", "compress", "name"),
    [
        (".gz", gzip.compress, "gzip"),
        (".bz2", bz2.compress, "bzip2"),
        (".zst", lambda content: pa.compress(content, "zstd", asbytes=True), "zstd"),
    ],
)
def test_compressed_files_are_read_and_damaged_ones_refused(
    suffix: str, compress: Callable[[bytes], bytes], name: str, tmp_path: Path
) -> None:
    whole = compress(random.Random(0).randbytes(100).hex().encode() + b" hello")
    path = tmp_path / f"a.txt{suffix}"
    (record,) = read(path, whole)
    assert isinstance(record, Document) and record.text.endswith(" hello")
    (several,) = read(path, whole + whole)
    assert isinstance(several, Document) and several.text == record.text * 2
    for broken in (whole[:-20], b"not compressed at all"):
        with pytest.raises(InputError, match=rf"must be whole {name}, .*a\.txt\{suffix} is damaged or cut short"):
            read(path, broken)


def test_large_plain_files_are_cut_and_small_files_read_together() -> None:
    sizes = {
        "a.jsonl": 200_000_000,
        "b.jsonl.gz": 200_000_000,
        "c.txt": 200_000_000,
        "d.txt": 900_000,
        "e.txt": 900_000,
    }
    files = [InputFile(name, size, "") for name, size in sizes.items()]
    items = split_files(files, ReadSettings(("x",)))
    assert [(item.file.path, item.start, item.end) for item in items] == [
        ("a.jsonl", 0, 50_000_000),
        ("a.jsonl", 50_000_000, 100_000_000),
        ("a.jsonl", 100_000_000, 150_000_000),
        ("a.jsonl", 150_000_000, None),
        ("b.jsonl.gz", 0, None),
        ("c.txt", 0, None),
        ("d.txt", 0, None),
        ("e.txt", 0, None),
    ]
    assert [item.number for item in items] == list(range(8))
    groups = group_items(items)
    assert [len(group) for group in groups] == [1, 1, 1, 1, 1, 1, 2]
    assert [item for group in groups for item in group] == list(items)


def test_sources_are_found_and_a_file_belongs_to_one(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    web, books = Source("web", (f"{tmp_path}/a.txt",)), Source("books", (f"{tmp_path}/b.txt",), 2.0)
    options = ReadSettings(sources=(web, books))
    files = find_sources(options)
    assert [(Path(file.path).name, file.source) for file in files] == [("a.txt", "web"), ("b.txt", "books")]
    assert [item.source for item in split_files(files, options)] == [0, 1]
    with pytest.raises(InputError, match=r"belongs to one source, .*a\.txt is in 'web' and 'all'"):
        find_sources(ReadSettings(sources=(web, Source("all", (str(tmp_path),)))))
    with pytest.raises(InputError, match="every source needs a name of its own"):
        ReadSettings(sources=(web, web))
    with pytest.raises(InputError, match="must be from 0 to 1000, 'x' has -1"):
        Source("x", ("y",), -1)


def test_weights_take_the_same_documents_whatever_else_there_is() -> None:
    names = [f"doc-{number}" for number in range(10_000)]
    for weight in (0.0, 0.25, 1.0, 2.5):
        copies = [num_copies(name, weight, seed=0) for name in names]
        assert set(copies) <= {int(weight), int(weight) + 1}
        assert abs(sum(copies) / 10_000 - weight) < 0.02
    batch = make_batch(range(3), ["a", "b", "c"], ["x", "y", "z"], [0] * 3, [0] * 3)
    repeated = repeat_documents(batch, np.array([2, 0, 3]))
    assert repeated.column("id").to_pylist() == ["a", "a#2", "c", "c#2", "c#3"]
    assert repeated.column("text").to_pylist() == ["x", "x", "z", "z", "z"]


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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id": 123456789012345678901, "text": "a"}', "123456789012345678901"),
        (b'{"id": 123456789012345678902, "text": "a"}', "123456789012345678902"),
        (b'{"id": -99999999999999999999999, "text": "a"}', "-99999999999999999999999"),
        (b'{"id": ' + b"7" * 300 + b', "text": "a"}', "7" * 300),
        (b'{"id": 18446744073709551615, "text": "a"}', "18446744073709551615"),
        (b'{"id": 1.5, "text": "a"}', "1.5"),
        (b'{"id": 1e30, "text": "a"}', "1e+30"),
        (b'{"id": "x", "text": "a"}', "x"),
        (b'{"text": "a"}', None),
    ],
)
def test_ids_keep_their_digits(line: bytes, expected: str | None, tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", line) == [Document(expected, "a")]


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=4)
    return sink.getvalue()


def invalid(*texts: bytes) -> pa.Array:
    """A column of strings that nobody has looked at."""
    return pa.array(texts, pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (invalid(b"one", b"\xff\xfe", b"three"), ["one", None, "three"]),
        (pa.array(["one", None, "three"]), ["one", None, "three"]),
        (pa.array(["one", "", "three"], pa.large_string()), ["one", "", "three"]),
        (pa.array([b"one", b"\xff", b"three"], pa.binary()), ["one", None, "three"]),
        (pa.array(["one", "one", "three"]).dictionary_encode(), ["one", "one", "three"]),
        (pa.array(["one", "x" * 2_000_000, "three"]), ["one", None, "three"]),
        (pa.array(["one", "x" * 2_000_000, "three"]).dictionary_encode(), ["one", None, "three"]),
        (pa.array([{"a": "x"}] * 3), [None] * 3),
        (pa.array([1, 2, 3]), [None] * 3),
        (pa.nulls(3), [None] * 3),
    ],
)
def test_a_bad_cell_of_a_parquet_costs_its_row(column: pa.Array, expected: list[str | None], tmp_path: Path) -> None:
    content = parquet(text=column, id=pa.array([1, 2, 3]))
    records = read(tmp_path / "a.parquet", content, max_document_mb=1)
    assert [record.text if isinstance(record, Document) else None for record in records] == expected
    assert [record.key for record in records if isinstance(record, Document)] == [
        str(number) for number, text in enumerate(expected, start=1) if text is not None
    ]


def test_damage_to_a_parquet_is_one_line_with_its_name(tmp_path: Path) -> None:
    dice = random.Random(0)
    content = parquet(text=pa.array([dice.randbytes(200).hex() for _ in range(40)]))
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    # The header of the first page.
    page = b"\xff" * 40
    for broken in (
        content[:4] + page + content[44:],
        content[:footer] + page + content[footer + 40 :],
        content[:-9],
        b"PAR1",
        b"",
        b"no parquet at all",
    ):
        with pytest.raises(
            InputError, match=r"must be whole, .*a\.parquet is damaged \(.*\); fetch it again"
        ) as caught:
            read(tmp_path / "a.parquet", broken)
        assert "\n" not in str(caught.value)
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    sink = io.BytesIO()
    pq.write_table(twice, sink)
    with pytest.raises(InputError, match="must stand once in the header, .* has 'text' 2 times"):
        read(tmp_path / "a.parquet", sink.getvalue())


def example(text: bytes) -> bytes:
    arrays = [pa.array([[text]], pa.large_list(pa.large_binary()))]
    (record,) = RecordBatchToExamplesEncoder(None).encode(pa.RecordBatch.from_arrays(arrays, names=["text"]))
    return bytes(record)


def test_the_limit_holds_for_tfrecords_and_damage_is_that_of_an_input(tmp_path: Path) -> None:
    content = frame_records([example(b"one"), example(b"x" * 2_000_000), example(b"three")])
    first, letter, third = read(tmp_path / "a.tfrecord", content, max_document_mb=1)
    assert (first, third) == (Document(None, "one"), Document(None, "three"))
    assert isinstance(letter, DeadLetter) and "may have 1 MB (--max-document-mb)" in letter.reason
    length = (2**36).to_bytes(8, "little")
    huge = frame_records([b"x"])[:0] + length + masked_crc(length) + b"x" * 100
    for broken in (huge, content[:-3], content[:5], b"text, no records at all\n"):
        with pytest.raises(
            InputError, match=r"a TFRecord input must be whole, .*a\.tfrecord is damaged at record \d.*; fetch it again"
        ):
            read(tmp_path / "a.tfrecord", broken, max_document_mb=1)


def masked_crc(content: bytes) -> bytes:
    """The checksum of TFRecord, taken out of a record that is framed."""
    return frame_records([content])[12 + len(content) :]


def web_record(body: bytes = b"hello", length: int | None = None) -> bytes:
    head = (
        "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:uuid:1>\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive\n" * 100, "it begins with b'no archive"),
        (web_record().replace(b"\r\n", b"\n"), r"it begins with b'WARC/1.0\\nW'"),
        (web_record() + b"rubbish\r\n" * 9 + web_record(), "Invalid WARC header"),
        (web_record()[:-7], "record 1 is cut short"),
        (web_record(length=99_999), "record 1 is cut short"),
        (bytes(range(256)), "it begins with b'"),
    ],
)
def test_an_archive_that_is_none_or_cut_short_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    for name, packed in (("a.warc", content), ("a.wet.gz", gzip.compress(content))):
        with pytest.raises(InputError, match=rf"a WARC input must be whole WARC, .*{name} is not \({reason}"):
            read(tmp_path / name, packed)
