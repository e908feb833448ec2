"""Encoding: batches of documents to pieces (token ids of at most a row, special tokens around), with their keys."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clozekit.pipelines.blocks import list_column, to_bytes
from clozekit.pipelines.documents import hash64
from clozekit.pipelines.options import PrepareOptions
from clozekit.pipelines.progress import Progress, ProgressReporter
from clozekit.pipelines.split import TRAIN, VALIDATION
from clozekit.tokenizers.families import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

ENCODE_COUNTS = "encode_counts"


def chunk_lengths(num_tokens: int, longest: int) -> list[int]:
    """Lengths of the pieces of a document: full ones, then what is left.

    >>> chunk_lengths(10, 4)
    [4, 4, 2]
    """
    full, rest = divmod(num_tokens, longest)
    return [longest] * full + ([rest] if rest else [])


def wrap_pieces(token_ids: np.ndarray, piece_lengths: np.ndarray, start_id: int, end_id: int) -> np.ndarray:
    """The pieces of `token_ids`, each with `start_id` before and `end_id` behind it, one after the other."""
    wrapped = piece_lengths + 2
    ends = np.cumsum(wrapped) - 1
    result = np.empty(int(wrapped.sum()), token_ids.dtype)
    inner = np.ones(len(result), bool)
    inner[ends] = inner[ends - wrapped + 1] = False
    result[inner] = token_ids
    result[ends] = end_id
    result[ends - wrapped + 1] = start_id
    return result


def encode_batch(
    documents: pa.RecordBatch, tokenizer: Tokenizer, options: PrepareOptions
) -> tuple[dict[str, pa.RecordBatch], dict[str, int]]:
    """Pieces of each split that has some, and the counts of what was done.

    A split's batch has the columns key (uint64, the shuffle order), content (uint64, breaks ties of equal keys) and
    token_ids (list<int32>).
    """
    batch = tokenizer.encode_batch(documents.column("text"))
    special = tokenizer.special_token_names
    start_id, end_id = (tokenizer.token_to_id(special[name]) for name in ("start_token", "end_token"))
    seed = options.seed.to_bytes(8, "little")
    counts = {"rejected_no_tokens": int((batch.row_lengths == 0).sum())}
    pieces: list[int] = []
    keys: list[int] = []
    validation: list[bool] = []
    columns = (documents.column(name).to_pylist() for name in ("id", VALIDATION))
    for identifier, in_validation, num_tokens in zip(*columns, batch.row_lengths.tolist(), strict=True):
        lengths = chunk_lengths(num_tokens, options.sequence_length - 2)
        pieces += lengths
        keys += [
            hash64(b"order", seed, identifier.encode(), index.to_bytes(8, "little")) for index in range(len(lengths))
        ]
        validation += [in_validation] * len(lengths)
        if lengths:
            name = f"documents_{VALIDATION if in_validation else TRAIN}"
            counts[name] = counts.get(name, 0) + 1
    lengths_array = np.array(pieces, np.int64)
    flat = wrap_pieces(batch.token_ids, lengths_array, start_id, end_id)
    table = pa.RecordBatch.from_arrays(
        [
            pa.array(np.array(keys, np.uint64)),
            pa.array(_content_hashes(flat, lengths_array + 2)),
            list_column(flat, lengths_array + 2),
        ],
        names=["key", "content", "token_ids"],
    )
    chosen = np.array(validation, bool)
    parts = {split: table.filter(pa.array(chosen == wanted)) for split, wanted in ((TRAIN, False), (VALIDATION, True))}
    counts.update({f"pieces_{split}": part.num_rows for split, part in parts.items()})
    return {split: part for split, part in parts.items() if part.num_rows}, counts


def _content_hashes(flat: np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    ends = np.cumsum(lengths)
    content = flat.astype("<i4").tobytes()
    hashes = [
        hash64(content[4 * start : 4 * end])
        for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    ]
    return np.array(hashes, np.uint64)


class EncodeDocuments(beam.DoFn):
    """Batch of documents -> (split, block of pieces), and counts."""

    def __init__(self, tokenizer_directory: str, options: PrepareOptions, progress: Progress | None) -> None:
        self._tokenizer_directory = tokenizer_directory
        self._options = options
        self._progress = progress

    def setup(self) -> None:
        self._tokenizer = load_tokenizer(self._tokenizer_directory)
        self._reporter = ProgressReporter(self._progress, "tokenized")

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        pieces, counts = encode_batch(documents, self._tokenizer, self._options)
        self._reporter.add(sum(len(piece.column("token_ids").flatten()) for piece in pieces.values()))
        yield beam.pvalue.TaggedOutput(ENCODE_COUNTS, counts)
        for split, piece in pieces.items():
            yield split, to_bytes(piece)
