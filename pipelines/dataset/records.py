"""The record: what one row of a dataset is called and looks like in bytes, and how shards are named. No Beam.

tfx-bsl, which brings Beam along, is loaded only where records are made or read; the trainer takes the names alone.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import list_parts

TOKEN_IDS = "token_ids"
DOCUMENT_LENGTHS = "document_lengths"
ROW_ID = "row_id"
# Only of sentence pairs: where the second segment of each document begins (at its end: it has none), and whether that is
# of another document or was swapped with the first (1), or not (0; -1 without a second segment).
SEGMENT_LENGTHS = "segment_lengths"
PAIR_LABELS = "pair_labels"
SPLITS = ("train", "validation")

# tf.train.Example has only int64 lists; every reader of Examples understands them.
_FEATURE = pa.large_list(pa.int64())
# Example{1: Features}.
_FEATURES = b"\x0a"


def rows_to_records(
    token_ids: pa.Array, document_lengths: pa.Array, first_row: int, pairs: Mapping[str, pa.Array] | None = None
) -> list[bytes]:
    """The records of consecutive rows, each a serialized tf.train.Example.

    Args:
        token_ids, document_lengths: arrays (num_rows,) of list<int64> or of a smaller integer, an entry a row: its ids, and the
        tokens of each document.
        first_row: the id of the first row.
        pairs: segment_lengths and pair_labels, arrays of the same kind; None: no sentence pairs.

    Returns:
        The records, the same bytes for the same values always.

    Example:

        >>> import pyarrow as pa
        >>> from clozekit.pipelines.dataset.records import records_to_rows, rows_to_records
        >>> records = rows_to_records(pa.array([[2, 7, 3, 2, 8, 3]]), pa.array([[3, 3]]), first_row=5)
        >>> records_to_rows(records).to_pylist()
        [{'token_ids': [2, 7, 3, 2, 8, 3], 'document_lengths': [3, 3], 'row_id': [5]}]
    """
    row_ids = pa.LargeListArray.from_arrays(
        pa.array(range(len(token_ids) + 1), pa.int64()),
        pa.array(range(first_row, first_row + len(token_ids)), pa.int64()),
    )
    return encode_examples({DOCUMENT_LENGTHS: document_lengths, ROW_ID: row_ids, TOKEN_IDS: token_ids, **(pairs or {})})


def encode_examples(columns: Mapping[str, pa.Array]) -> list[bytes]:
    """Serialized tf.train.Examples, the same bytes for the same values always; columns: list<integer>, an entry an Example.

    Encoded by tfx-bsl's C++ coder, six times faster than Python's `tf.train.Example`.
    """
    # A protobuf map is written in the order of a hash table that differs from process to process (seen with tfx-bsl
    # 1.21), so each feature is encoded as an Example of its own, and the entries are joined in the order of the names.
    encoded = [_map_entries(name, column.cast(_FEATURE)) for name, column in sorted(columns.items())]
    return [_field(_FEATURES, b"".join(entries)) for entries in zip(*encoded, strict=True)]


def _map_entries(name: str, column: pa.LargeListArray) -> list[bytes]:
    """The one entry of `Features.feature` in each Example of a single feature."""
    values, lengths = list_parts(column)
    if len(values) and not column.null_count and lengths.min() > 0 and values.min() >= 0 and values.max() < 0x80:
        return _small_entries(name, values, lengths)
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    examples = RecordBatchToExamplesEncoder(None).encode(pa.RecordBatch.from_arrays([column], names=[name]))
    return [example[1 + _varint_length(example, 1) :] for example in examples]


def _varint_length(message: bytes, start: int) -> int:
    end = start
    while message[end] & 0x80:
        end += 1
    return end + 1 - start


def _small_entries(name: str, values: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """The same for values of one byte, such as masks: the varint of each is itself. A fifth of the coder's time."""
    content, key = values.astype(np.uint8).tobytes(), _field(b"\x0a", name.encode())
    # What stands before the values of a list of so many: map entry{1: key, 2: Feature{3: Int64List{1: values}}}.
    before = {
        length: _field(b"\x0a", key + _field(b"\x12", _field(b"\x1a", _field(b"\x0a", bytes(length)))))[:-length]
        for length in np.unique(lengths).tolist()
    }
    ends = np.cumsum(lengths)
    parts = zip(lengths.tolist(), (ends - lengths).tolist(), ends.tolist(), strict=True)
    return [before[length] + content[start:end] for length, start, end in parts]


def _field(tag: bytes, content: bytes) -> bytes:
    """A field of a message: its tag (number and wire type 2), the length of the content as a varint, the content."""
    header = bytearray(tag)
    length = len(content)
    while length >= 0x80:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header) + content


def records_to_rows(records: list[bytes]) -> pa.RecordBatch:
    """Inverse of `rows_to_records`: a record batch of the rows.

    Args:
        records: serialized tf.train.Examples.

    Returns:
        The columns token_ids, document_lengths, row_id and, where there are pairs, theirs, each a list<int64>, (num_rows,).

    Example:

        >>> from clozekit.pipelines.dataset.records import records_to_rows
        >>> from clozekit.pipelines.dataset.tfrecord import read_records
        >>> path = next(Path("tiny/dataset").glob("train-*.tfrecord"))
        >>> with open(path, "rb") as stream:
        ...     rows = records_to_rows(list(read_records(stream, str(path))))
        >>> rows.num_rows, rows.schema.names, str(rows.schema.field("token_ids").type)
        (28, ['token_ids', 'document_lengths', 'row_id'], 'large_list<item: int64>')
    """
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoded = ExamplesToRecordBatchDecoder(None).DecodeBatch(records)
    pairs = [name for name in (SEGMENT_LENGTHS, PAIR_LABELS) if name in decoded.schema.names]
    return decoded.select([TOKEN_IDS, DOCUMENT_LENGTHS, ROW_ID, *pairs])


def shard_name(split: str, index: int, num_shards: int, sha256: str) -> str:
    """File name of a shard; the hash in it makes two attempts at one shard land on one name, and two contents not."""
    return f"{split}-{index:05d}-of-{num_shards:05d}-{sha256[:8]}.tfrecord"
