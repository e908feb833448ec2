"""Cutting tables and containers into records: CSV and TSV, Parquet, TFRecord of tf.Example, WARC and WET."""

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from clozekit.pipelines.cut_text import Piece
from clozekit.pipelines.delimited import TOO_LONG, column_place, read_rows
from clozekit.pipelines.documents import Document
from clozekit.pipelines.tfrecord import read_records
from clozekit.tokenizers.errors import InputError

_BATCH_ROWS = 1000


def cut_table(
    stream: IO[bytes], limit: int, delimiter: str, quoted: bool, text_key: str, id_key: str, source: str
) -> Iterator[Piece]:
    """The rows under the header of a CSV or TSV, each as {column: cell}, or as the error of a row that is none."""
    rows = read_rows(stream, limit, delimiter, quoted, source)
    first = next(rows, None)
    if first is None:
        return
    places = {name: column_place(name, first.cells, source, "pass --text-key") for name in (text_key,)}
    if id_key in first.cells:
        places[id_key] = column_place(id_key, first.cells, source, "pass --id-key")
    for row in rows:
        content: Any = None
        if not row.problem:
            content = {name: row.cells[place] for name, place in places.items()}
        elif row.problem != TOO_LONG:
            content = InputError(row.problem)
        yield Piece(row.offset, row.line, content)


def cut_parquet(
    stream: IO[bytes], start: int, end: int | None, text_key: str, id_key: str, source: str
) -> Iterator[Piece]:
    """The rows of the row groups that begin in [start, end) of a Parquet file."""
    try:
        file = pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise InputError(f"a .parquet input must be whole, {source} is damaged ({error}); fetch it again") from error
    columns = file.schema_arrow.names
    column_place(text_key, columns, source, "pass --text-key")
    wanted = [text_key, id_key] if id_key in columns else [text_key]
    row = 0
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        first_byte = min(
            group.column(column).dictionary_page_offset or group.column(column).data_page_offset
            for column in range(group.num_columns)
        )
        if start <= first_byte and (end is None or first_byte < end):
            number = row
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[index], columns=wanted):
                for fields in batch.to_pylist():
                    yield Piece(number, number + 1, fields)
                    number += 1
        row += group.num_rows


def cut_examples(stream: IO[bytes], text_key: str, id_key: str, source: str) -> Iterator[Piece]:
    """The tf.train.Examples of a TFRecord file, each as {feature: value} or as the error of one that is none."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder(None)
    for number, record in enumerate(read_records(stream, source)):
        content: Any
        try:
            (row,) = decoder.DecodeBatch([record]).to_pylist()
            content = {name: row[name][0] for name in (text_key, id_key) if row.get(name)}
        except Exception as error:
            # tfx-bsl raises whatever its C++ raised.
            content = InputError(f"a record must be a tf.train.Example, this one is not ({error}); mend it")
        yield Piece(number, number + 1, content)


def check_web() -> None:
    """Raises InputError when the extra that reads web archives is not installed."""
    try:
        import fastwarc  # noqa: F401
        import resiliparse  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"WARC files need the extra 'warc', it is not installed ({error}); run: pip install 'clozekit[warc]'"
        ) from error


def cut_web(stream: IO[bytes], limit: int, source: str) -> Iterator[Piece]:
    """The texts of a WET file and the visible text of the HTML and plain-text answers of a WARC file."""
    check_web()
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    kinds = WarcRecordType.conversion | WarcRecordType.response
    for number, record in enumerate(ArchiveIterator(stream, record_types=kinds, parse_http=True), start=1):
        html = False
        if record.record_type == WarcRecordType.response:
            kind = record.http_content_type or ""
            html = kind in ("text/html", "application/xhtml+xml")
            if not html and kind != "text/plain":
                continue
        body = record.reader.read(limit + 1)
        content: Any = None
        if len(body) <= limit:
            try:
                text = (
                    body.decode("utf-8")
                    if not html
                    else bytes_to_str(body, record.http_charset or detect_encoding(body) or "utf-8")
                )
                content = Document(record.record_id, extract_plain_text(text, main_content=True) if html else text)
            except Exception as error:
                content = InputError(f"a web page must be text in its charset, this one is not ({error})")
        yield Piece(record.stream_pos, number, content)
