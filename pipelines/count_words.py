"""Counting the words of a corpus: batch-local counters, summed by the hash of the word, so memory stays bounded."""

import json
import posixpath
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from clozekit.pipelines.cleaning.clean_documents import check_corpus
from clozekit.pipelines.reading.input_files import Skipped
from clozekit.pipelines.reading.read_documents import find_sources, split_files
from clozekit.pipelines.running.dead_letters import DeadLetter, check_bad_rate
from clozekit.pipelines.running.merge_counts import MergeCounts
from clozekit.pipelines.running.progress import Progress, ProgressReporter, local_progress
from clozekit.pipelines.running.runners import LOCAL_RUNNER, failures_in_one_line, open_pipeline, runner_options
from clozekit.pipelines.select_documents import SelectDocuments, files_read
from clozekit.pipelines.settings.corpus_settings import AS_READ, CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.storage.files import join, list_names, read_bytes
from clozekit.pipelines.text_files.file_states import check_unchanged, states_of
from clozekit.tokenizers.common.text_batch import Texts
from clozekit.tokenizers.storage.file_systems import write_bytes_whole

NUM_PARTITIONS = 64
READ_COUNTS_FILE = "read-counts.json"


# A word that stands in many batches is then counted, sent and summed once for all of them.
_COUNTED_BYTES = 32_000_000


class CountWords(beam.DoFn):
    """Batches of documents -> (partition of the word, counts of its words), for so many bytes of batches at once."""

    def __init__(self, count: Callable[[Texts], Counter[str]], progress: Progress | None) -> None:
        self._count = count
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "counted")

    def start_bundle(self) -> None:
        self._waiting: list[pa.Array] = []

    def process(self, documents: pa.RecordBatch) -> Iterable[tuple[int, dict[str, int]]]:
        self._waiting.append(documents.column("text"))
        if sum(texts.nbytes for texts in self._waiting) >= _COUNTED_BYTES:
            yield from self._counts()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        for element in self._counts():
            yield WindowedValue(element, MIN_TIMESTAMP, [GlobalWindow()])

    def _counts(self) -> Iterable[tuple[int, dict[str, int]]]:
        parts: dict[int, dict[str, int]] = {}
        counts = self._count(pa.chunked_array(self._waiting)) if self._waiting else Counter[str]()
        self._waiting = []
        for word, count in counts.items():
            parts.setdefault(zlib.crc32(word.encode("utf-8", "surrogatepass")) % NUM_PARTITIONS, {})[word] = count
        self._reporter.add(counts.total())
        return parts.items()


def is_count(name: str) -> bool:
    """Whether the counting writes files of that name."""
    return name == READ_COUNTS_FILE or re.fullmatch(r"\d{3}\.json", name) is not None


def write_word_counts(element: tuple[int, dict[str, int]], _gate: Any, directory: str) -> int:
    partition, counts = element
    write_bytes_whole(join(directory, f"{partition:03d}.json"), json.dumps(counts, sort_keys=True).encode())
    return partition


def note_counts(counts: dict[str, int], examples: Sequence[DeadLetter], max_bad_rate: float, directory: str) -> None:
    check_bad_rate(counts, examples, max_bad_rate)
    write_bytes_whole(join(directory, READ_COUNTS_FILE), json.dumps(counts).encode())


def count_corpus_words(
    reading: ReadSettings,
    count: Callable[[Texts], Counter[str]],
    folder: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    show_progress: bool = False,
    corpus: CorpusSettings = AS_READ,
) -> tuple[Counter[str], dict[str, int]]:
    """Word -> count over all documents, counted on Beam, and the counts of what was read.

    Args:
        reading: which files, and how documents are found in them.
        count: texts, an Arrow array (num_texts,) of string -> counts of their words; a function of a module, which workers import.
        folder: a new one for the counts of the parts, which holds files that `is_count` tells then.
        runner, num_workers, beam_arguments, show_progress, corpus: see `prepare`.

    Returns:
        The counts of the words, and those of the documents and records by what became of them.

    Raises:
        InputError: for inputs or options that break a rule.

    Example:

        >>> from clozekit.pipelines.count_words import count_corpus_words
        >>> from clozekit.tokenizers.learning.learn_word_pieces import count_lowercased_words
        >>> word_counts, read_counts = count_corpus_words(read_lines, count_lowercased_words, "tiny/words")
        >>> word_counts.most_common(2), read_counts["documents_in"]
        ([('the', 76), ('jumped', 40)], 36)
    """
    check_corpus(corpus)
    skipped = Skipped()
    inputs = find_sources(reading, skipped, [posixpath.dirname(folder)])
    states = states_of(files_read(inputs, corpus))
    if skipped.number and show_progress:
        sys.stderr.write(f"{skipped.line()}\n")
    options = runner_options(runner, num_workers, beam_arguments)
    with (
        local_progress(
            show_progress and runner == LOCAL_RUNNER, inputs, {"read": "B", "counted": " words"}
        ) as progress,
        failures_in_one_line(),
        open_pipeline(options) as root,
    ):
        read = root | "SelectDocuments" >> SelectDocuments(
            split_files(inputs, reading), reading, corpus, progress=progress
        )
        examples = read.dead_letters | "BadExamples" >> beam.combiners.Top.Smallest(1)
        gate = (
            read.counts
            | "SumCounts" >> beam.CombineGlobally(MergeCounts())
            | "CheckCounts" >> beam.Map(note_counts, AsSingleton(examples), reading.max_bad_rate, folder)
        )
        _ = (
            read.documents
            | "Count" >> beam.ParDo(CountWords(count, progress))
            | "SumWords" >> beam.CombinePerKey(MergeCounts())
            | "Write" >> beam.Map(write_word_counts, AsList(gate), folder)
        )
    check_unchanged(states)
    counts: Counter[str] = Counter()
    read_counts = json.loads(read_bytes(join(folder, READ_COUNTS_FILE)))
    for name in list_names(folder):
        if name != READ_COUNTS_FILE:
            counts.update(json.loads(read_bytes(join(folder, name))))
    return counts, read_counts
