"""Cutting tables and containers into records: CSV and TSV, TFRecord of tf.Example, WARC and WET."""

from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from clozekit.pipelines.dataset.tfrecord import read_input_records
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.text_files.content_kinds import compression_found
from clozekit.pipelines.text_files.cut_text import Piece
from clozekit.pipelines.text_files.delimited import TOO_LONG, column_place, read_rows
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import require_extras

# What the first line of an archive has.
_WARC_HEAD_BYTES = len(b"WARC/1.0\r\n")


def cut_table(
    stream: IO[bytes], limit: int, delimiter: str, quoted: bool, text_key: str, others: Sequence[str], source: str
) -> Iterator[Piece]:
    """The rows under the header of a CSV or TSV, each as {column: cell}, or as the error of a row that is none; of the columns
    `others` those that are there."""
    rows = read_rows(stream, limit, delimiter, quoted, source)
    first = next(rows, None)
    if first is None:
        return
    places = {name: column_place(name, first.cells, source, "pass --text-key") for name in (text_key,)}
    places |= {
        other: column_place(other, first.cells, source, "name another column")
        for other in others
        if other in first.cells
    }
    for row in rows:
        content: Any = None
        if not row.problem:
            content = {name: row.cells[place] for name, place in places.items()}
        elif row.problem != TOO_LONG:
            content = InputError(row.problem)
        yield Piece(row.offset, row.line, content)


def cut_examples(stream: IO[bytes], limit: int, text_key: str, others: Sequence[str], source: str) -> Iterator[Piece]:
    """The tf.train.Examples of a TFRecord file, each as {feature: value} or as the error of one that is none."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder(None)
    for number, record in enumerate(read_input_records(stream, source, limit)):
        content: Any = None
        if record is not None:
            try:
                (row,) = decoder.DecodeBatch([record]).to_pylist()
                content = {name: row[name][0] for name in (text_key, *others) if row.get(name)}
            except Exception as error:
                # tfx-bsl raises whatever its C++ raised.
                content = InputError(f"a record must be a tf.train.Example, this one is not ({error}); correct it")
        yield Piece(number, number + 1, content)


def check_web() -> None:
    """Raises MissingExtraError when the extra that reads web archives is not installed."""
    require_extras("reading WARC files", "warc")


class _Counted:
    """What FastWARC needs of a stream. Of one with more methods it takes for granted that it can seek."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        part = self._stream.read(size)
        self._position += len(part)
        return part

    def tell(self) -> int:
        return self._position


def cut_web(stream: IO[bytes], limit: int, source: str) -> Iterator[Piece]:
    """The texts of a WET file and the visible text of the HTML and plain-text answers of a WARC file."""
    check_web()
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kinds = WarcRecordType.conversion | WarcRecordType.response
    head = stream.peek(_WARC_HEAD_BYTES)[:_WARC_HEAD_BYTES]  # type: ignore[attr-defined]
    # FastWARC decompresses by itself, and passes over all records of a file without carriage returns.
    if head and not compression_found(head) and not (head.startswith(b"WARC/") and head.endswith(b"\r\n")):
        raise _no_archive(source, f"it begins with {head!r}")
    records = iter(
        enumerate(ArchiveIterator(cast(IO[bytes], _Counted(stream)), record_types=kinds, parse_http=True), start=1)
    )
    while True:
        try:
            number, record = next(records, (0, None))
            if record is None:
                return
            html = False
            if record.record_type == WarcRecordType.response:
                kind = record.http_content_type or ""
                html = kind in ("text/html", "application/xhtml+xml")
                if not html and kind != "text/plain":
                    continue
            body = record.reader.read(limit + 1)
            if len(body) < min(limit + 1, record.content_length):
                raise _no_archive(source, f"record {number} is cut short")
            name, charset, position = record.record_id, record.http_charset, record.stream_pos
        # A panic of FastWARC's Rust is no Exception.
        except BaseException as error:
            is_its_own = isinstance(error, OSError) and error.errno is None
            if not is_its_own and type(error).__name__ != "PanicException":
                raise
            raise _no_archive(source, " ".join(str(error).split())[:200]) from error
        content: Any = None
        if len(body) <= limit:
            try:
                content = _web_document(body, html, name, charset)
            except Exception as error:
                content = InputError(f"a web page must be text in its charset, this one is not ({error})")
        yield Piece(position, number, content)


def _web_document(body: bytes, html: bool, record_id: str | None, charset: str | None) -> Document:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    if not html:
        return Document(record_id, body.decode("utf-8"))
    text = bytes_to_str(body, charset or detect_encoding(body) or "utf-8")
    return Document(record_id, extract_plain_text(text, main_content=True))


def _no_archive(source: str, why: str) -> InputError:
    return InputError(
        f"a WARC input must be whole WARC, {source} is not ({why}); fetch it again, or name it after what it is"
    )
