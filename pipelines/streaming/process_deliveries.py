"""Processing: what is delivered to the rows of panes: cleaned, filtered, split, encoded. No Beam.

A batch goes in, a table comes out, whole: everything about a document is one row of it. Engines call this in a DoFn, the
embedded driver by itself; a document's row does not depend on what else is in the batch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.cleaning import tags
from clozekit.pipelines.cleaning.clean_documents import add_tags, check_corpus, first_broken_rules, tags_of, wanted_tags
from clozekit.pipelines.cleaning.clean_text import clean_texts
from clozekit.pipelines.dataset.list_columns import list_column, list_parts
from clozekit.pipelines.duplicates.decontaminate import count_shared, evaluation_ngrams
from clozekit.pipelines.duplicates.words import fold_texts, hash_words, text_hashes
from clozekit.pipelines.rows.encode_documents import encode_pieces, encode_texts
from clozekit.pipelines.rows.split import VALIDATION, add_split
from clozekit.pipelines.running.dead_letters import DeadLetter, batch_or_rows, dead_letter
from clozekit.pipelines.running.documents import hash64, make_batch, replace_column, text_id
from clozekit.pipelines.running.stage import CONTAMINATED, DEADLETTER, REJECTS
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.pipelines.streaming.pane import DELIVERIES, KEPT
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.tokenizers.tokenizer import Tokenizer

DEAD_LETTERED = "dead_lettered"
# As `prepare` reads: larger batches cost memory and save nothing.
MAX_BATCH_DOCUMENTS = 1000
MAX_BATCH_CHARACTERS = 2_000_000


class _Fate(NamedTuple):
    """What becomes of a document that does not go on, or is reported."""

    outcome: str
    folder: str | None = None
    line: bytes | None = None


def delivery_key(delivered: Delivered) -> bytes:
    """128 bits of what was delivered: of a document its id and text as they came, of a dead letter its place and reason.

    So the same document of another message, or read again under another name, is a redelivery.
    """
    record = delivered.record
    if isinstance(record, DeadLetter):
        parts = (b"dead", delivered.origin.encode(errors="surrogatepass"), record.reason.encode(errors="replace"))
    else:
        parts = (b"document", str(_id_of(delivered)).encode(), record.text.encode())
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


class DeliverySteps:
    """The steps between a source and a pane, with what they need at hand: the tokenizer, word lists, evaluation texts.

    Raises InputError for settings that `prepare` refuses too: a rule on a tag that does not exist, an extra that is missing.
    """

    def __init__(self, corpus: CorpusSettings, options: PrepareSettings, tokenizer: Tokenizer) -> None:
        check_corpus(corpus)
        self._corpus = corpus
        self._options = options
        self._tokenizer = tokenizer
        self._tags = wanted_tags(corpus.filter)
        self._bad_words = () if corpus.filter.bad_words is None else tags.read_bad_words(corpus.filter.bad_words)
        self._ngrams = evaluation_ngrams(corpus.decontaminate) if corpus.decontaminate.inputs else None

    def process(self, batch: Sequence[Delivered]) -> pa.Table:
        """A table of DELIVERIES, a row each, in their order."""
        fates: dict[int, _Fate] = {}
        for row, delivered in enumerate(batch):
            record = delivered.record
            if isinstance(record, DeadLetter):
                fates[row] = _Fate(DEAD_LETTERED, DEADLETTER, record.to_line())
            elif not record.text.strip():
                fates[row] = _rejected(delivered, {"rule": "empty"}, None)
        rows = [row for row in range(len(batch)) if row not in fates]
        texts = [batch[row].record.text for row in rows]  # type: ignore[union-attr]
        keys = [batch[row].record.key for row in rows]  # type: ignore[union-attr]
        documents = make_batch(rows, keys, texts, [0] * len(rows), [0] * len(rows))
        documents = self._select(documents, batch, fates)
        encoded = self._guarded("encode", self._encode, documents, batch, fates)
        return _table_of(batch, encoded, fates)

    def _guarded(
        self,
        stage: str,
        work: Any,
        documents: pa.RecordBatch,
        batch: Sequence[Delivered],
        fates: dict[int, _Fate],
    ) -> pa.RecordBatch:
        """`work` of the documents; those that raise become dead letters."""
        done, failed = batch_or_rows(work, documents)
        for at, error in failed:
            row, identifier = (documents.column(name)[at].as_py() for name in ("number", "id"))
            letter = dead_letter(stage, batch[row].origin, -1, f"document {identifier}", error)
            fates[row] = _Fate(DEAD_LETTERED, DEADLETTER, letter.to_line())
        return done

    def _select(self, documents: pa.RecordBatch, batch: Sequence[Delivered], fates: dict[int, _Fate]) -> pa.RecordBatch:
        """Clean documents that break no rule, with a column `validation`; what became of the others goes to `fates`."""
        corpus = self._corpus
        if corpus.clean.is_on:
            documents = self._guarded(
                "clean",
                lambda some: replace_column(some, "text", clean_texts(some.column("text"), corpus.clean)),
                documents,
                batch,
                fates,
            )
        if self._tags:
            documents = self._guarded("tag", self._tag, documents, batch, fates)
        if corpus.clean.is_on or corpus.filter.is_on:
            broken = first_broken_rules(documents, corpus.filter)
            is_kept = pa.array([rule is None for rule in broken], pa.bool_())
            rejected = documents.filter(pc.invert(is_kept))
            rules = [rule for rule in broken if rule is not None]
            for row, text, rule, found in zip(
                *(rejected.column(name).to_pylist() for name in ("number", "text")),
                rules,
                tags_of(rejected),
                strict=True,
            ):
                fates[row] = _rejected(batch[row], {"rule": rule, "tags": found}, text)
            documents = documents.filter(is_kept)
        documents = documents.select(["number", "id", "text", "source", "offset"])
        if self._ngrams is not None:
            documents = self._guarded("decontaminate", self._decontaminate(batch, fates), documents, batch, fates)
        return add_split(documents, self._options.seed, self._options.validation_rate)

    def _tag(self, documents: pa.RecordBatch) -> pa.RecordBatch:
        return add_tags(documents, tags.tag_texts(documents.column("text"), self._tags, self._bad_words))

    def _decontaminate(self, batch: Sequence[Delivered], fates: dict[int, _Fate]) -> Any:
        is_dropped = self._corpus.decontaminate.action == "drop"
        ngrams = self._ngrams or {}

        def work(documents: pa.RecordBatch) -> pa.RecordBatch:
            shared = count_shared(hash_words(fold_texts(documents.column("text"))), ngrams)
            numbers, texts = (documents.column(name).to_pylist() for name in ("number", "text"))
            for at in np.flatnonzero(shared).tolist():
                fields = {"shared_ngrams": int(shared[at])}
                line = _line(batch[numbers[at]], fields, texts[at])
                fates[numbers[at]] = _Fate("contaminated" if is_dropped else KEPT, CONTAMINATED, line)
            return documents.filter(pa.array(shared == 0)) if is_dropped else documents

        return work

    def _encode(self, documents: pa.RecordBatch) -> pa.RecordBatch:
        """Adds the columns of pieces, of a document each, its hashes, and its outcome."""
        encoded = encode_texts(documents.column("text"), self._tokenizer, self._options.by_sentence)
        pieces, outcomes = encode_pieces(documents, encoded, self._tokenizer, self._options)
        exact = text_hashes(fold_texts(documents.column("text")))
        contents = [hash64(text.encode()) for text in documents.column("text").to_pylist()]
        rows = pieces.column("document_row").to_numpy()
        pieces_of = np.bincount(rows, minlength=documents.num_rows)
        flat, lengths = list_parts(pieces.column("token_ids"))
        tokens_of = np.bincount(rows, weights=lengths, minlength=documents.num_rows).astype(np.int64)
        none = np.zeros(documents.num_rows, np.int64)
        has_pairs = "segment_length" in pieces.schema.names
        columns = {
            "outcome": pa.array(
                [KEPT if name.startswith("documents_") else name for name in outcomes], pa.large_string()
            ),
            "exact_0": pa.array(exact[:, 0]),
            "exact_1": pa.array(exact[:, 1]),
            "content": pa.array(contents, pa.uint64()),
            "piece_keys": list_column(pieces.column("key").to_numpy(), pieces_of),
            "piece_contents": list_column(pieces.column("content").to_numpy(), pieces_of),
            "piece_lengths": list_column(lengths.astype(np.int32), pieces_of),
            "token_ids": list_column(flat.astype(np.int32), tokens_of),
            "segment_lengths": list_column(pieces.column("segment_length").to_numpy(), pieces_of)
            if has_pairs
            else list_column(np.zeros(0, np.int32), none),
            "pair_labels": list_column(pieces.column("pair_label").to_numpy(), pieces_of)
            if has_pairs
            else list_column(np.zeros(0, np.int8), none),
        }
        for name, column in columns.items():
            documents = documents.append_column(name, column)
        return documents


def _line(delivered: Delivered, details: Mapping[str, Any], text: str | None) -> bytes:
    line = {"id": _id_of(delivered), "input": delivered.origin, **details}
    return json.dumps(line if text is None else {**line, "text": text}, ensure_ascii=False).encode() + b"\n"


def _rejected(delivered: Delivered, details: Mapping[str, Any], text: str | None) -> _Fate:
    return _Fate(f"rejected_{details['rule']}", REJECTS, _line(delivered, details, text))


def _table_of(batch: Sequence[Delivered], encoded: pa.RecordBatch, fates: Mapping[int, _Fate]) -> pa.Table:
    """A row for each delivered record: what was encoded, and the fates of the others."""
    digests = np.frombuffer(b"".join(map(delivery_key, batch)), "<u8").reshape(-1, 2).astype(np.uint64)
    numbers = encoded.column("number").to_numpy().astype(np.int64)
    places = np.full(len(batch), -1, np.int64)
    places[numbers] = np.arange(len(numbers))
    # A null of what was not encoded.
    taken = encoded.take(pa.array(places, mask=places < 0))
    ids = [_id_of(delivered) for delivered in batch]
    outcomes = [fates[row].outcome if row in fates and places[row] < 0 else None for row in range(len(batch))]
    columns = {
        "delivery_0": pa.array(digests[:, 0]),
        "delivery_1": pa.array(digests[:, 1]),
        "id": pa.array(ids, pa.large_string()),
        "origin": pa.array([delivered.origin for delivered in batch], pa.large_string()),
        "event_time": pa.array([delivered.event_time for delivered in batch], pa.int64()),
        "outcome": pc.coalesce(taken.column("outcome"), pa.array(outcomes, pa.large_string())),
        "folder": pa.array(
            [fates[row].folder if row in fates else None for row in range(len(batch))], pa.large_string()
        ),
        "line": pa.array([fates[row].line if row in fates else None for row in range(len(batch))], pa.large_binary()),
        "text": taken.column("text"),
        VALIDATION: taken.column(VALIDATION),
        **{
            name: taken.column(name)
            for name in (
                *("exact_0", "exact_1", "content", "piece_keys", "piece_contents", "piece_lengths", "token_ids"),
                *("segment_lengths", "pair_labels"),
            )
        },
    }
    return pa.table([columns[name].cast(DELIVERIES.field(name).type) for name in DELIVERIES.names], schema=DELIVERIES)


def _id_of(delivered: Delivered) -> str | None:
    record = delivered.record
    if isinstance(record, DeadLetter):
        return None
    return text_id(record.text.encode()) if record.key is None else record.key
