"""Batches of documents: the columns that travel between the stages, and the id of a document."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

# number: (work item << 32) + the record's place in it, so no two documents of a build share one. It is a label, never an
# order: it changes with how the files are split. source: index of the document's source; offset: where the record
# stands in its file (bytes of the decompressed text, or rows).
DOCUMENTS = pa.schema(
    [
        ("number", pa.uint64()),
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.int32()),
        ("offset", pa.int64()),
    ]
)
ITEM_SHIFT = 32


class Document(NamedTuple):
    """A document: the user's key or None, its text, and its event time in milliseconds since 1970 where one was asked for."""

    key: str | None
    text: str
    time: int | None = None


def text_id(text: bytes) -> str:
    """The id of a document without a key: how files are split or joined does not change it."""
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def hash64(*parts: bytes) -> int:
    """64 bits that depend on the parts and on where one ends and the next begins."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def item_of(number: int) -> int:
    """Index of the work item that a document was read in."""
    return number >> ITEM_SHIFT


def replace_column(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    return batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name).with_type(column.type), column)


def make_batch(
    numbers: Sequence[int],
    keys: Sequence[str | None],
    texts: Sequence[str],
    sources: Sequence[int],
    offsets: Sequence[int],
) -> pa.RecordBatch:
    """A batch of DOCUMENTS; a document whose key is None gets the id of its text."""
    encoded = [text.encode() for text in texts]
    ids = [text_id(text) if key is None else key for key, text in zip(keys, encoded, strict=True)]
    columns = (numbers, ids, texts, sources, offsets)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, DOCUMENTS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)
