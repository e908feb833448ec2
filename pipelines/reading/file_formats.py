"""Formats: how each kind of input file is cut into records, and how a record becomes a document."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from clozekit.pipelines.reading.cut_parquet import cut_parquet
from clozekit.pipelines.reading.cut_tables import check_web, cut_examples, cut_table, cut_web
from clozekit.pipelines.reading.event_times import event_time
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.text_files.cut_text import Piece, cut_blocks, cut_text_lines, cut_whole
from clozekit.pipelines.text_files.delimited import DELIMITERS, is_quoted
from clozekit.pipelines.text_files.json_lines import cut_json_lines, name_of, parse_object
from clozekit.pipelines.text_files.open_input import bare_name, is_compressed
from clozekit.tokenizers.common.errors import InputError

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".warc": "warc",
    ".wet": "warc",
}


@dataclass(frozen=True)
class Format:
    """cut: (stream, start, end) -> pieces; parse: a piece's content -> document, or it raises; place: what a piece is
    called in a message; is_splittable: whether `cut` minds a range of bytes; is_text: whether the file is to hold text."""

    cut: Callable[[IO[bytes], int, int | None], Iterator[Piece]]
    parse: Callable[[Any], Document]
    place: str
    is_splittable: bool = False
    is_text: bool = True

    def position(self, piece: Piece) -> str:
        if self.place == "the whole file":
            return self.place
        return f"{self.place} {piece.line}" if piece.line else f"byte {piece.offset}"


def format_name(path: str, options: ReadSettings) -> str:
    """Which format a file is read as."""
    if options.input_format != "auto":
        return options.input_format
    name = bare_name(path)
    return next((format for suffix, format in _SUFFIXES.items() if name.endswith(suffix)), "text")


def format_of(path: str, options: ReadSettings, time_key: str = "") -> Format:
    """The format of a file; time_key: which field, column or feature has the event time, "": none is read. Raises InputError for a
    compressed Parquet file, which is compressed inside."""
    name, limit, text_key, id_key = (
        format_name(path, options),
        options.max_document_bytes,
        options.text_key,
        options.id_key,
    )
    is_plain = not is_compressed(path)
    others = (id_key, time_key) if time_key else (id_key,)

    def parse_fields(fields: Any) -> Document:
        return document_of_fields(fields, text_key, id_key, time_key)

    if name == "text":
        cut, place = {
            "line": (cut_text_lines, "line"),
            "block": (cut_blocks, "the block from line"),
            "file": (cut_whole, "the whole file"),
        }[options.document_kind]
        return Format(
            lambda stream, start, end: cut(stream, start, end, limit),
            parse_text,
            place,
            is_plain and options.document_kind != "file",
        )
    if name == "jsonl":
        return Format(
            lambda stream, start, end: cut_json_lines(stream, start, end, limit),
            lambda line: parse_json(line, text_key, id_key, time_key),
            "line",
            is_plain,
        )
    if name in ("csv", "tsv"):
        delimiter, quoted = DELIMITERS[name], is_quoted(name, options.quoting)
        return Format(
            lambda stream, *_: cut_table(stream, limit, delimiter, quoted, text_key, others, path), parse_fields, "line"
        )
    if name == "parquet":
        if not is_plain:
            raise InputError(f"a Parquet file must not be compressed as a whole, {path} is; decompress it")
        return Format(
            lambda stream, start, end: cut_parquet(stream, start, end, limit, text_key, others, path),
            parse_fields,
            "row",
            is_splittable=True,
            is_text=False,
        )
    if name == "tfrecord":
        return Format(
            lambda stream, *_: cut_examples(stream, limit, text_key, others, path),
            parse_fields,
            "record",
            is_text=False,
        )
    check_web()
    return Format(lambda stream, *_: cut_web(stream, limit, path), _given, "record", is_text=False)


def _given(content: Any) -> Document:
    if isinstance(content, Exception):
        raise content
    return content


def parse_text(content: bytes) -> Document:
    try:
        return Document(None, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        where = f"byte {error.start} ({error.object[error.start : error.end].hex()})"
        raise InputError(f"text must be UTF-8, {where} is not; convert the file to UTF-8") from error


def parse_json(line: bytes, text_key: str, id_key: str, time_key: str = "") -> Document:
    fields = parse_object(line)
    text = fields.get(text_key)
    if not isinstance(text, str):
        got = f"has a {type(text).__name__} there" if text_key in fields else f"has the keys {sorted(fields)}"
        raise InputError(
            f"a JSON line must hold text under {text_key!r}, this one {got}; correct it or pass --text-key"
        )
    key = name_of(line, fields, id_key) if id_key in fields else None
    return Document(None if key is None else str(key), text, _time_of(fields, time_key))


def document_of_fields(fields: Any, text_key: str, id_key: str, time_key: str = "") -> Document:
    """The document of a row or an Example: cells are str, bytes, numbers (as an id or a time), times or None."""
    if isinstance(fields, Exception):
        raise fields
    text, key = fields.get(text_key), fields.get(id_key)
    if not isinstance(text, str | bytes):
        raise InputError(
            f"a record must hold text under {text_key!r}, this one has {type(text).__name__} there; correct it"
        )
    name = None if key is None or key == "" else _checked(key)
    return Document(name, _checked(text), _time_of(fields, time_key))


def _time_of(fields: Any, time_key: str) -> int | None:
    return event_time(fields.get(time_key), time_key) if time_key else None


def _checked(value: Any) -> str:
    """`value` as str. Raises InputError for bytes that are no UTF-8."""
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8")
        text = str(value)
        text.encode("utf-8")
        return text
    except UnicodeError as error:
        raise InputError(f"text must be UTF-8, this one is not ({error}); convert the file to UTF-8") from error
