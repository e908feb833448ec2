"""Damaged input files of every format, plain and compressed: documents and counted bad records, or one line with the name."""

import bz2
import csv
import functools
import gzip
import io
import lzma
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import damaged_bytes, dice_of_cases
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from clozekit.model.training.finetuning.examples.labelled_texts import Columns, label_names, read_labelled_texts
from clozekit.pipelines.dataset.tfrecord import frame_records
from clozekit.pipelines.reading.read_documents import WorkItem, find_sources, read_item
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.text_files.delimited import read_rows
from clozekit.tokenizers.common.errors import InputError

MAX_GROWTH_KB = 1_500_000


def texts(dice: random.Random) -> list[str]:
    return ["".join(dice.choices('ab ,"\t\né\u2028ß中', k=dice.randint(0, 40))) for _ in range(dice.randint(1, 12))]


def jsonl(dice: random.Random) -> bytes:
    import json

    return b"".join(json.dumps({"text": text, "id": n}).encode() + b"\n" for n, text in enumerate(texts(dice)))


def table(delimiter: str) -> Callable[[random.Random], bytes]:
    def make(dice: random.Random) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=delimiter, lineterminator=dice.choice(["\n", "\r\n"]))
        writer.writerows([["id", "text"], *([n, text] for n, text in enumerate(texts(dice)))])
        return buffer.getvalue().encode()

    return make


def text(dice: random.Random) -> bytes:
    return "\n\n".join(texts(dice)).encode()


def parquet(dice: random.Random) -> bytes:
    rows = texts(dice)
    column = pa.array(rows)
    column = column.dictionary_encode() if dice.random() < 0.2 else column.cast(dice.choice([pa.string(), pa.binary()]))
    sink = io.BytesIO()
    compression = dice.choice(["snappy", "zstd", "gzip", "none"])
    content = pa.table({"text": column, "id": pa.array(range(len(rows)))})
    pq.write_table(content, sink, row_group_size=4, compression=compression, use_dictionary=dice.random() < 0.5)
    return sink.getvalue()


def tfrecord(dice: random.Random) -> bytes:
    array = pa.array([[each.encode()] for each in texts(dice)], pa.large_list(pa.large_binary()))
    return frame_records(RecordBatchToExamplesEncoder(None).encode(pa.RecordBatch.from_arrays([array], names=["text"])))


def warc(dice: random.Random) -> bytes:
    records = []
    for number, each in enumerate(texts(dice)):
        body = each.encode()
        kind = dice.choice(["conversion", "response"])
        if kind == "response":
            mime = dice.choice(["text/html", "text/plain"])
            body = f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\n\r\n<p>".encode() + body
        head = (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nContent-Type: "
            f"{'application/http' if kind == 'response' else 'text/plain'}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        records.append(head.encode() + body + b"\r\n\r\n")
    return b"".join(records)


FORMATS = {
    "jsonl": jsonl, "csv": table(","), "tsv": table("\t"), "txt": text, "parquet": parquet, "tfrecord": tfrecord,
    "warc": warc,
}  # fmt: skip
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": functools.partial(gzip.compress, mtime=0), ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda content: bytes(pa.compress(content, "zstd", asbytes=True)),
}  # fmt: skip


def read_all(path: Path, options: ReadSettings) -> tuple[int, int]:
    """(documents, bad records). Raises InputError with one line that names the file."""
    item = WorkItem(0, InputFile(str(path), path.stat().st_size, ""), 0)
    documents = bad = 0
    try:
        find_sources(options)
        for _, record in read_item(item, options):
            if isinstance(record, DeadLetter):
                bad += 1
                assert record.input == str(path) and record.position
            else:
                documents += 1
                record.text.encode()
    except InputError as error:
        assert "\n" not in str(error) and path.name in str(error), str(error)
    return documents, bad


@pytest.mark.parametrize("name", FORMATS)
def test_fuzz_damaged_files(name: str, tmp_path: Path) -> None:
    if name == "warc":
        pytest.importorskip("fastwarc")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, dice in dice_of_cases(60):
        content = FORMATS[name](dice)
        suffix = dice.choice(list(COMPRESSIONS)) if dice.random() < 0.4 and name != "parquet" else ""
        if dice.random() < 0.5:
            content = COMPRESSIONS[suffix](damaged_bytes(content, dice))
        else:
            content = damaged_bytes(COMPRESSIONS[suffix](content), dice)
        path = tmp_path / f"a.{name}{suffix}"
        path.write_bytes(content)
        kind, limit = dice.choice(["line", "block", "file"]), dice.choice([0.00005, 1.0])
        options = ReadSettings((str(path),), document_kind=kind, max_document_mb=limit, max_bad_rate=1.0)
        try:
            read_all(path, options)
        except Exception as error:
            raise AssertionError(f"case {number}, a.{name}{suffix}: {type(error).__name__}: {error}") from error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MAX_GROWTH_KB


@pytest.mark.parametrize("quoted", [True, False])
def test_fuzz_rows_of_undamaged_lines_are_all_there(quoted: bool) -> None:
    """Marks, carriage returns and fields that are put into some lines cost no row of another line."""
    for number, dice in dice_of_cases(300):
        delimiter = dice.choice([",", "\t"])
        width = dice.randint(2, 4)
        # Words between white space: what a mark that is open would take for its end is never there by chance.
        lines = [
            delimiter.join(f"{n}-{place} {dice.choice(['a', 'b c', ''])}." for place in range(width))
            for n in range(dice.randint(1, 60))
        ]
        if quoted:
            lines = [
                delimiter.join(f'"{cell}"' for cell in line.split(delimiter)) if dice.random() < 0.2 else line
                for line in lines
            ]
        damaged = sorted(dice.sample(range(len(lines)), dice.randint(0, min(3, len(lines)))))
        for place in damaged:
            line = lines[place]
            cut = dice.choice(
                [0, *(i + 1 for i, character in enumerate(line) if character == delimiter), dice.randrange(len(line))]
            )
            lines[place] = line[:cut] + dice.choice(['"', '"x', delimiter, '""', '"""']) + line[cut:]
        header = delimiter.join(f"c{place}" for place in range(width))
        content = "\n".join([header, *lines]).encode()
        limit = dice.choice([300, 1 << 20])
        rows = list(read_rows(io.BytesIO(content), limit, delimiter, quoted, "a.csv"))
        found = {row.line: row for row in rows}
        # Two marks that were put in may make a sound record of the lines between them.
        joined: set[int] = set()
        for row in rows:
            last = row.line + "\n".join(row.cells).count("\n") - len(row.cells) + 1
            if quoted and {row.line - 2, last - 2} <= set(damaged):
                joined |= set(range(row.line - 2, last - 1))
        for place, line in enumerate(lines):
            if place in damaged or place in joined:
                continue
            row = found.get(place + 2)
            assert row is not None and not row.problem, f"case {number}: line {place + 2} is lost: {content!r}"
            assert row.cells == [cell.strip('"') if quoted else cell for cell in line.split(delimiter)]
        assert sum(1 for row in rows if row.problem) <= len(damaged)


@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv"])
def test_fuzz_damaged_labelled_texts(name: str, tmp_path: Path) -> None:
    for number, dice in dice_of_cases(100):
        path = tmp_path / f"a.{name}{dice.choice(list(COMPRESSIONS))}"
        content = damaged_bytes(FORMATS[name](dice), dice)
        path.write_bytes(next(make for end, make in reversed(COMPRESSIONS.items()) if path.name.endswith(end))(content))
        columns = Columns("text", None, "id", skip_bad_rows=dice.random() < 0.5, quoting=dice.choice(["auto", "none"]))
        try:
            label_names(read_labelled_texts(str(path), columns))
        except InputError as error:
            assert "\n" not in str(error) and path.name in str(error), str(error)
        except Exception as error:
            raise AssertionError(f"case {number}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv", "txt"])
def test_fuzz_the_same_records_however_a_file_is_packed_or_cut(name: str, tmp_path: Path) -> None:
    for number, dice in dice_of_cases(40):
        content = damaged_bytes(FORMATS[name](dice), dice)
        kind = dice.choice(["line", "block"])
        expected = None
        for suffix in ("", *dice.sample(list(COMPRESSIONS)[1:], 2)):
            path = tmp_path / f"a.{name}{suffix}"
            path.write_bytes(COMPRESSIONS[suffix](content))
            options = ReadSettings((str(path),), document_kind=kind, max_document_mb=0.0001)
            bounds: list[int | None] = [0, None]
            if not suffix and name in ("jsonl", "txt") and len(content) > 4:
                bounds = [0, *sorted(dice.sample(range(1, len(content)), 3)), None]
            found = []
            try:
                for start, end in zip(bounds, bounds[1:], strict=False):
                    item = WorkItem(0, InputFile(str(path), len(content), ""), 0, start or 0, end)
                    for offset, record in read_item(item, options):
                        found.append((offset, "bad" if isinstance(record, DeadLetter) else record))
            except InputError as error:
                found = [(0, type(error).__name__)]
            if expected is None:
                expected = found
            assert found == expected, f"case {number}, {suffix}: {content!r}"
