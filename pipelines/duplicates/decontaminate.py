"""Decontaminating: documents that share runs of words with evaluation texts are dropped, or reported."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsSingleton

from clozekit.pipelines.duplicates.words import WordHashes, fold_texts, hash_ngrams, hash_words
from clozekit.pipelines.reading.read_documents import find_sources, read_item, split_files
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.running.stage import CONTAMINATED, GuardedDoFn, counts_output, run_stage, side_output
from clozekit.pipelines.settings.corpus_settings import DecontaminateSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.tokenizers.common.errors import InputError

# Evaluation texts are read in portions of so many characters.
_PORTION_CHARACTERS = 4_000_000


def evaluation_reading(options: DecontaminateSettings) -> ReadSettings:
    return ReadSettings(options.inputs, document_kind=options.document_kind, text_key=options.text_key)


def evaluation_ngrams(options: DecontaminateSettings) -> dict[int, np.ndarray]:
    """Number of words -> the sorted hashes of the runs of so many words in the evaluation texts (8 bytes each).

    Texts shorter than `ngram_words` give one run of all their words, from `min_words` on. Raises InputError for an
    input that can't be read whole: a hole here would let contamination through.
    """
    reading = evaluation_reading(options)
    found: dict[int, list[np.ndarray]] = {}
    texts: list[str] = []
    characters = 0
    for item in split_files(find_sources(reading), reading):
        for _, record in read_item(item, reading):
            if isinstance(record, DeadLetter):
                raise InputError(
                    f"every evaluation text must be readable, {record.input}, {record.position} is not: {record.reason}"
                )
            texts.append(record.text)
            characters += len(record.text)
            if characters > _PORTION_CHARACTERS:
                _add_ngrams(found, texts, options)
                texts, characters = [], 0
    _add_ngrams(found, texts, options)
    return {size: np.unique(np.concatenate(parts)) for size, parts in sorted(found.items())}


def _add_ngrams(found: dict[int, list[np.ndarray]], texts: Sequence[str], options: DecontaminateSettings) -> None:
    words = hash_words(fold_texts(pa.array(texts, pa.large_string())))
    ngrams = hash_ngrams(words, options.ngram_words, options.min_words)
    sizes = np.repeat(np.minimum(words.counts, options.ngram_words), ngrams.counts)
    for size in np.unique(sizes).tolist():
        found.setdefault(size, []).append(ngrams.hashes[sizes == size])


def count_shared(words: WordHashes, ngrams: dict[int, np.ndarray]) -> np.ndarray:
    """How many runs of each text are among `ngrams`."""
    shared = np.zeros(len(words.counts), np.int64)
    for size, known in ngrams.items():
        own = hash_ngrams(words, size, size)
        places = np.minimum(np.searchsorted(known, own.hashes), len(known) - 1)
        texts = np.repeat(np.arange(len(own.counts)), own.counts)
        shared += np.bincount(texts[known[places] == own.hashes], minlength=len(shared))
    return shared


class _Decontaminate(GuardedDoFn):
    def __init__(self, action: str, sources: Sequence[str], paths: Sequence[str]) -> None:
        super().__init__("decontaminate", paths)
        self._action = action
        self._sources = sources

    def process(self, documents: pa.RecordBatch, ngrams: dict[int, np.ndarray]) -> Iterable[Any]:
        def count(batch: pa.RecordBatch) -> pa.RecordBatch:
            shared = count_shared(hash_words(fold_texts(batch.column("text"))), ngrams)
            return batch.append_column("shared", pa.array(shared))

        counted, failed = self.guard(count, documents)
        yield from failed
        shared = counted.column("shared").to_numpy()
        documents = counted.drop_columns(["shared"])
        found = documents.filter(pa.array(shared > 0))
        details = [{"shared_ngrams": number} for number in shared[shared > 0].tolist()]
        yield from side_output(CONTAMINATED, found, self._paths, self._sources, details, with_text=True)
        is_dropped = self._action == "drop"
        yield counts_output({"contaminated" if is_dropped else "reported_contaminated": found.num_rows})
        kept = documents.filter(pa.array(shared == 0)) if is_dropped else documents
        if kept.num_rows:
            yield kept


class Decontaminate(beam.PTransform):
    """Batches of documents -> those that share no run of words with the evaluation texts, which one worker reads."""

    def __init__(self, options: DecontaminateSettings, sources: Sequence[str], paths: Sequence[str]) -> None:
        super().__init__()
        self._options = options
        self._work = _Decontaminate(options.action, sources, paths)

    def expand(self, documents: Any) -> Any:
        ngrams = (
            documents.pipeline
            | "ReadOnce" >> beam.Create([self._options])
            | "EvaluationNgrams" >> beam.Map(evaluation_ngrams)
        )
        return run_stage(documents, self._work, "Compare", side_inputs=(AsSingleton(ngrams),))
