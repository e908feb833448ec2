"""Encoding: batches of documents to pieces (token ids of at most a row, special tokens around), with their keys."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import gather_lists, list_column
from clozekit.pipelines.dataset.row_limits import NO_PAIR
from clozekit.pipelines.rows.cut_documents import (
    chunk_lengths,
    cut_pairs,
    cut_sentences,
    pair_point,
    split_sentences,
)
from clozekit.pipelines.rows.split import TRAIN, VALIDATION
from clozekit.pipelines.running.block_store import BlockStore, PutsBlocks
from clozekit.pipelines.running.blocks import to_bytes
from clozekit.pipelines.running.documents import hash64
from clozekit.pipelines.running.progress import Progress, ProgressReporter
from clozekit.pipelines.running.stage import COUNTS, GuardedDoFn
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


class Encoded(NamedTuple):
    """Token ids of a batch of documents one after the other, and the tokens of each sentence (of the whole document, where
    sentences don't matter) of each document."""

    token_ids: np.ndarray
    sentences: list[list[int]]


def encode_texts(texts: pa.Array, tokenizer: Tokenizer, by_sentence: bool) -> Encoded:
    if not by_sentence:
        batch = tokenizer.encode_batch(texts)
        return Encoded(batch.token_ids, [[length] for length in batch.row_lengths.tolist()])
    parts = [split_sentences(text) for text in texts.to_pylist()]
    batch = tokenizer.encode_batch([sentence for part in parts for sentence in part])
    lengths = iter(batch.row_lengths.tolist())
    return Encoded(batch.token_ids, [[next(lengths) for _ in part] for part in parts])


def wrap_pieces(token_ids: np.ndarray, piece_lengths: np.ndarray, start_id: int, end_id: int) -> np.ndarray:
    """The pieces of `token_ids`, each with `start_id` before and `end_id` behind it, one after the other."""
    return wrap_segments(token_ids, piece_lengths, np.ones(len(piece_lengths), bool), start_id, end_id)


def wrap_segments(
    token_ids: np.ndarray, lengths: np.ndarray, is_first: np.ndarray, start_id: int, end_id: int
) -> np.ndarray:
    """Segments one after the other, `end_id` behind each and `start_id` before each that is the first of its piece."""
    wrapped = lengths + 1 + is_first
    ends = np.cumsum(wrapped) - 1
    starts = (ends - wrapped + 1)[is_first]
    result = np.empty(int(wrapped.sum()), token_ids.dtype)
    inner = np.ones(len(result), bool)
    inner[ends] = inner[starts] = False
    result[inner] = token_ids
    result[ends] = end_id
    result[starts] = start_id
    return result


class EncodedPieces(NamedTuple):
    """The pieces of a batch of documents, and what became of each document.

    pieces: a row a piece, in the order of the documents: document_row (int64, which document of the batch), key (uint64,
    the shuffle order), content (uint64, breaks ties of equal keys) and token_ids (list<int32>); with pairs also the columns
    of `wrap_pairs` and document (uint64). outcomes: a document each, the name under which it is counted.
    """

    pieces: pa.RecordBatch
    outcomes: list[str]


def encode_pieces(
    documents: pa.RecordBatch, encoded: Encoded, tokenizer: Tokenizer, options: PrepareSettings
) -> EncodedPieces:
    """documents: with the columns id and validation, the latter for the outcomes alone; encoded: of their texts."""
    seed = options.seed.to_bytes(8, "little")
    if options.pairs == "none":
        begins = None
        cuts = [cut_document(sentences, options) for sentences in encoded.sentences]
    else:
        begins = tokenizer.word_starts()[encoded.token_ids]
        ends = np.cumsum([sum(sentences) for sentences in encoded.sentences]).tolist()
        cuts = [
            cut_document(sentences, options, begins[end - sum(sentences) : end])
            for sentences, end in zip(encoded.sentences, ends, strict=True)
        ]
    pieces = [piece for cut in cuts for piece in cut]
    lengths = np.array([sum(piece) for piece in pieces], np.int64)
    fits = options.holds(lengths)
    keys: list[int] = []
    outcomes: list[str] = []
    first = 0
    documents_columns = (documents.column(name).to_pylist() for name in ("id", VALIDATION))
    for identifier, in_validation, cut in zip(*documents_columns, cuts, strict=True):
        outcome = f"documents_{VALIDATION if in_validation else TRAIN}"
        if not cut:
            outcome = "rejected_no_tokens"
        elif lengths[first] > options.longest_piece:
            outcome = "rejected_too_long"
        elif not fits[first]:
            outcome = "documents_of_other_lengths"
        outcomes.append(outcome)
        keys += [hash64(b"order", seed, identifier.encode(), index.to_bytes(8, "little")) for index in range(len(cut))]
        first += len(cut)
    token_ids = encoded.token_ids if fits.all() else encoded.token_ids[np.repeat(fits, lengths)]
    chosen = np.flatnonzero(fits)
    key_array = np.array(keys, np.uint64)[chosen]
    numbers = np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])[chosen]
    special = tokenizer.special_token_names
    start_id, end_id = (tokenizer.token_to_id(special[name]) for name in ("start_token", "end_token"))
    columns: dict[str, pa.Array] = {}
    if begins is None:
        wrapped_lengths = lengths[chosen] + 2
        flat = wrap_pieces(token_ids, lengths[chosen], start_id, end_id)
    else:
        begins = begins if fits.all() else begins[np.repeat(fits, lengths)]
        second = divide_pieces([pieces[piece] for piece in chosen.tolist()], key_array, options, begins)
        flat, wrapped_lengths, columns = wrap_pairs(
            token_ids, lengths[chosen], second, key_array, options, start_id, end_id
        )
        hashes = np.array([hash64(identifier.encode()) for identifier in documents.column("id").to_pylist()], np.uint64)
        columns["document"] = pa.array(hashes[numbers])
    table = pa.RecordBatch.from_pydict(
        {
            "document_row": pa.array(numbers, pa.int64()),
            "key": pa.array(key_array),
            "content": pa.array(_content_hashes(flat, wrapped_lengths)),
            "token_ids": list_column(flat, wrapped_lengths),
            **columns,
        }
    )
    return EncodedPieces(table, outcomes)


def encode_batch(
    documents: pa.RecordBatch, encoded: Encoded, tokenizer: Tokenizer, options: PrepareSettings
) -> tuple[dict[str, pa.RecordBatch], dict[str, int]]:
    """Pieces of each split that has some, and the counts of what was done.

    A split's batch has the columns key (uint64, the shuffle order), content (uint64, breaks ties of equal keys) and
    token_ids (list<int32>); with pairs also those of `wrap_pairs` and document (uint64).
    """
    table, outcomes = encode_pieces(documents, encoded, tokenizer, options)
    counts = {"rejected_no_tokens": 0, **Counter(outcomes)}
    in_validation = documents.column(VALIDATION).to_numpy(zero_copy_only=False)[table.column("document_row").to_numpy()]
    table = table.drop_columns(["document_row"])
    parts = {
        split: table.filter(pa.array(in_validation == wanted)) for split, wanted in ((TRAIN, False), (VALIDATION, True))
    }
    counts.update({f"pieces_{split}": part.num_rows for split, part in parts.items()})
    return {split: part for split, part in parts.items() if part.num_rows}, counts


def cut_document(sentences: list[int], options: PrepareSettings, begins: np.ndarray | None = None) -> list[list[int]]:
    """The pieces of a document, each as the lengths of its sentences; one that is dropped for its length stays whole.

    begins: of pairs, whether each token begins a word.
    """
    num_tokens = sum(sentences)
    if options.long_documents == "drop" and num_tokens > options.longest_piece:
        return [[num_tokens]]
    if options.pairs == "next" and begins is not None:
        return cut_pairs(sentences, options.longest_segment, begins)
    if options.by_sentence:
        return cut_sentences(sentences, options.longest_piece, begins)
    return [[length] for length in chunk_lengths(num_tokens, options.longest_piece)]


def divide_pieces(
    pieces: list[list[int]], keys: np.ndarray, options: PrepareSettings, begins: np.ndarray
) -> np.ndarray:
    """Where the second segment of each piece begins, never inside a word; at its end when it is too short for two. begins: whether
    each token of all pieces begins a word."""
    ends = np.cumsum([sum(piece) for piece in pieces], dtype=np.int64).tolist()
    points = [
        pair_point(piece, options.longest_segment, key % 65_521, begins[end - sum(piece) : end])
        for piece, key, end in zip(pieces, keys.tolist(), ends, strict=True)
    ]
    return np.array(points, np.int64)


def wrap_pairs(
    token_ids: np.ndarray,
    lengths: np.ndarray,
    points: np.ndarray,
    keys: np.ndarray,
    options: PrepareSettings,
    start_id: int,
    end_id: int,
) -> tuple[np.ndarray, np.ndarray, dict[str, pa.Array]]:
    """Pieces as `[CLS] A [SEP] B [SEP]`: their ids, their lengths, and the columns segment_length and pair_label.

    The label of half of the pieces is 1, by their key. With "order" their segments are swapped here; with "next" their
    second segments are exchanged when the group is packed, where those of other documents are at hand.
    """
    has_pair = points < lengths
    labels = np.where(has_pair, (keys >> np.uint64(20)) & np.uint64(1), NO_PAIR).astype(np.int8)
    segments = np.stack([points, lengths - points], axis=1)
    order = np.arange(2 * len(lengths)).reshape(-1, 2)
    if options.pairs == "order":
        order[labels == 1] = order[labels == 1][:, ::-1]
    token_ids = gather_lists(token_ids, segments.reshape(-1), order.reshape(-1))
    segments = segments.reshape(-1)[order.reshape(-1)].reshape(-1, 2)
    # A piece without a second segment has one end token.
    exists = np.stack([np.ones(len(lengths), bool), has_pair], axis=1).reshape(-1)
    is_first = np.tile([True, False], len(lengths))[exists]
    flat = wrap_segments(token_ids, segments.reshape(-1)[exists], is_first, start_id, end_id)
    columns = {"segment_length": pa.array((segments[:, 0] + 2).astype(np.int32)), "pair_label": pa.array(labels)}
    return flat, lengths + 2 + has_pair, columns


def _content_hashes(flat: np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    ends = np.cumsum(lengths)
    content = flat.astype("<i4").tobytes()
    hashes = [
        hash64(content[4 * start : 4 * end])
        for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    ]
    return np.array(hashes, np.uint64)


def counts_tag(length: int) -> str:
    return f"encode_counts_{length}"


def pieces_tag(length: int) -> str:
    return f"pieces_{length}"


def encode_lengths(
    documents: pa.RecordBatch, tokenizer: Tokenizer, each: Sequence[PrepareSettings]
) -> tuple[list[tuple[dict[str, pa.RecordBatch], dict[str, int]]], int]:
    """What `encode_batch` gives for each of the options, and the number of tokens."""
    encoded = encode_texts(documents.column("text"), tokenizer, each[0].by_sentence)
    return [encode_batch(documents, encoded, tokenizer, options) for options in each], len(encoded.token_ids)


class EncodeDocuments(GuardedDoFn, PutsBlocks):
    """Batch of documents -> (split, block of pieces) and counts, tagged by the length of the rows they are for.

    options: one for each sequence length, alike in everything that decides the tokens. A document that can't be encoded
    for one of them is a dead letter of all.
    """

    def __init__(
        self,
        tokenizer_directory: str,
        options: Sequence[PrepareSettings],
        store: BlockStore,
        progress: Progress | None,
        paths: Sequence[str],
    ) -> None:
        GuardedDoFn.__init__(self, "encode", paths)
        PutsBlocks.__init__(self, store)
        self._tokenizer_directory = tokenizer_directory
        self._options = tuple(options)
        self._progress = progress

    def setup(self) -> None:
        super().setup()
        self._tokenizer = load_tokenizer(self._tokenizer_directory)
        self._reporter = ProgressReporter(self._progress, "tokenized")

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        results: list[Any] = []

        def encode(batch: pa.RecordBatch) -> pa.RecordBatch:
            results.append(encode_lengths(batch, self._tokenizer, self._options))
            return batch

        _, failed = self.guard(encode, documents)
        for output in failed:
            # Counts go with those of each length, and into the account once.
            if output.tag == COUNTS:
                for options in self._options:
                    yield beam.pvalue.TaggedOutput(counts_tag(options.sequence_length), output.value)
            else:
                yield output
        for each, num_tokens in results:
            self._reporter.add(num_tokens)
            for options, (pieces, counts) in zip(self._options, each, strict=True):
                yield beam.pvalue.TaggedOutput(counts_tag(options.sequence_length), counts)
                for split, piece in pieces.items():
                    yield beam.pvalue.TaggedOutput(
                        pieces_tag(options.sequence_length), (split, self._blocks.put(to_bytes(piece)))
                    )
