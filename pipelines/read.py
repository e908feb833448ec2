"""Reading: files to batches of documents, and to dead letters for the records that can't be read."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import apache_beam as beam
import orjson
import pyarrow as pa

from clozekit.pipelines.files import GZIP_SUFFIX, InputFile, open_input
from clozekit.pipelines.options import ReadOptions
from clozekit.pipelines.progress import Progress, ProgressReporter
from clozekit.tokenizers.errors import InputError

DOCUMENTS = pa.schema([("id", pa.string()), ("text", pa.large_string())])
BAD_RECORDS = "bad_records"
READ_COUNTS = "read_counts"

# Elements are batches: one document an element costs 2.5 times the CPU (measured, Beam 2.77).
MAX_BATCH_DOCUMENTS = 1000
MAX_BATCH_CHARACTERS = 2_000_000


class Document(NamedTuple):
    """A document: the user's key or None, and its text."""

    key: str | None
    text: str


class BadRecord(NamedTuple):
    """A record that can't be read: its file, its line (0: the whole file), the same in words, and why."""

    source: str
    line: int
    position: str
    reason: str


def document_id(document: Document) -> str:
    """The user's key, else the hash of the text: how files are split or joined does not change it."""
    if document.key is not None:
        return document.key
    return hashlib.blake2b(document.text.encode(), digest_size=16).hexdigest()


def read_text(stream: IO[bytes], kind: str, source: str) -> Iterator[Document | BadRecord]:
    """Documents of a UTF-8 text: the whole file, each line, or each block between blank lines."""
    for line, position, content in _text_pieces(stream, kind):
        try:
            yield Document(None, content.decode("utf-8"))
        except UnicodeDecodeError as error:
            where = f"byte {error.start} ({error.object[error.start : error.end].hex()})"
            yield BadRecord(source, line, position, f"text must be UTF-8, {where} is not; convert the file to UTF-8")


def _text_pieces(stream: IO[bytes], kind: str) -> Iterator[tuple[int, str, bytes]]:
    if kind == "file":
        yield 0, "the whole file", stream.read()
        return
    block: list[bytes] = []
    first_line = 1
    for number, line in enumerate(stream, start=1):
        if kind == "line":
            if line.strip():
                yield number, f"line {number}", line.rstrip(b"\r\n")
        elif line.strip():
            if not block:
                first_line = number
            block.append(line)
        elif block:
            yield first_line, f"the block from line {first_line}", b"".join(block)
            block = []
    if block:
        yield first_line, f"the block from line {first_line}", b"".join(block)


def read_json_lines(stream: IO[bytes], text_key: str, id_key: str, source: str) -> Iterator[Document | BadRecord]:
    """Documents of JSON lines: the string under `text_key`, known by the value under `id_key` if there is one."""
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        position = f"line {number}"
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield BadRecord(
                source, number, position, f"a line must be one JSON object, this one is not ({error}); mend it"
            )
            continue
        text = fields.get(text_key) if isinstance(fields, dict) else None
        if not isinstance(text, str):
            got = f"has the keys {sorted(fields)}" if isinstance(fields, dict) else f"is a {type(fields).__name__}"
            if isinstance(fields, dict) and text_key in fields:
                got = f"has a {type(text).__name__} there"
            yield BadRecord(
                source,
                number,
                position,
                f"a JSON line must hold text under {text_key!r}, this one {got}; mend it or pass --text-key",
            )
            continue
        key = fields.get(id_key)
        yield Document(None if key is None else str(key), text)


def read_documents(file: InputFile, options: ReadOptions, stream: IO[bytes]) -> Iterator[Document | BadRecord]:
    """Documents of one file in the format that `options` says."""
    name = file.path.removesuffix(GZIP_SUFFIX)
    is_json = options.input_format == "jsonl" or (options.input_format == "auto" and name.endswith((".jsonl", ".json")))
    if is_json:
        return read_json_lines(stream, options.text_key, options.id_key, file.path)
    return read_text(stream, options.document_kind, file.path)


def read_file(file: InputFile, options: ReadOptions) -> Iterator[Document | BadRecord]:
    """Documents of one file. Raises InputError for a .gz file that is no gzip or is cut short."""
    try:
        with open_input(file.path) as stream:
            yield from read_documents(file, options, stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"a {GZIP_SUFFIX} input must be whole gzip, {file.path} is damaged or cut short ({error}); fetch it again"
        ) from error


def group_files(files: Sequence[InputFile]) -> list[tuple[InputFile, ...]]:
    """Files in groups that one worker reads in a row, so that many small files still make full batches."""
    groups: list[list[InputFile]] = []
    room = 0
    for file in files:
        if not groups or room < file.num_bytes:
            groups.append([])
            room = MAX_BATCH_CHARACTERS
        groups[-1].append(file)
        room -= file.num_bytes
    return [tuple(group) for group in groups]


class ReadFiles(beam.DoFn):
    """Group of InputFile -> batches of documents (RecordBatch of DOCUMENTS), dead letters, counts."""

    def __init__(self, options: ReadOptions, progress: Progress | None) -> None:
        self._options = options
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "read")

    def process(self, files: tuple[InputFile, ...]) -> Iterable[Any]:
        counts = {"documents_in": 0, "dead_lettered": 0, "rejected_empty": 0}
        documents: list[Document] = []
        characters = 0
        for file in files:
            reported = 0
            for item in read_file(file, self._options):
                counts["documents_in"] += 1
                if isinstance(item, BadRecord):
                    counts["dead_lettered"] += 1
                    yield beam.pvalue.TaggedOutput(BAD_RECORDS, item)
                elif not item.text.strip():
                    counts["rejected_empty"] += 1
                else:
                    documents.append(item)
                    characters += len(item.text)
                if len(documents) >= MAX_BATCH_DOCUMENTS or characters >= MAX_BATCH_CHARACTERS:
                    yield to_batch(documents)
                    # Characters stand in for bytes until the file ends: gzip does not tell how far it is.
                    self._reporter.add(characters)
                    reported += characters
                    documents, characters = [], 0
            self._reporter.add(max(0, file.num_bytes - reported))
        if documents:
            yield to_batch(documents)
        yield beam.pvalue.TaggedOutput(READ_COUNTS, counts)


def to_batch(documents: list[Document]) -> pa.RecordBatch:
    ids = pa.array([document_id(document) for document in documents], DOCUMENTS.field(0).type)
    texts = pa.array([document.text for document in documents], DOCUMENTS.field(1).type)
    return pa.RecordBatch.from_arrays([ids, texts], schema=DOCUMENTS)
