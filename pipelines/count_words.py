"""Counting the words of a corpus: batch-local counters, summed by the hash of the word, so memory stays bounded."""

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton

from clozekit.pipelines.clean import check_corpus
from clozekit.pipelines.corpus_options import AS_READ, CorpusOptions
from clozekit.pipelines.dead_letters import DeadLetter, check_bad_rate
from clozekit.pipelines.files import check_writable, join, list_names, read_bytes, remove, write_bytes
from clozekit.pipelines.locks import lock_directories
from clozekit.pipelines.merge_counts import MergeCounts
from clozekit.pipelines.options import ReadOptions
from clozekit.pipelines.progress import Progress, ProgressReporter, local_progress
from clozekit.pipelines.read import find_sources, split_files
from clozekit.pipelines.runners import LOCAL_RUNNER, failures_in_one_line, open_pipeline, runner_options
from clozekit.pipelines.select_documents import SelectDocuments

NUM_PARTITIONS = 64
WORDS_FOLDER = "_words"
READ_COUNTS_FILE = "read-counts.json"


class CountWords(beam.DoFn):
    """Batch of documents -> (partition of the word, counts of its words)."""

    def __init__(self, count: Callable[[Sequence[str]], Counter[str]], progress: Progress | None) -> None:
        self._count = count
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "counted")

    def process(self, documents: pa.RecordBatch) -> Iterable[tuple[int, dict[str, int]]]:
        parts: dict[int, dict[str, int]] = {}
        counts = self._count(documents.column("text").to_pylist())
        for word, count in counts.items():
            parts.setdefault(zlib.crc32(word.encode("utf-8", "surrogatepass")) % NUM_PARTITIONS, {})[word] = count
        self._reporter.add(counts.total())
        yield from parts.items()


def write_word_counts(element: tuple[int, dict[str, int]], _gate: Any, directory: str) -> int:
    partition, counts = element
    write_bytes(join(directory, f"{partition:03d}.json"), json.dumps(counts, sort_keys=True).encode())
    return partition


def note_counts(counts: dict[str, int], examples: Sequence[DeadLetter], max_bad_rate: float, directory: str) -> None:
    check_bad_rate(counts, examples, max_bad_rate)
    write_bytes(join(directory, READ_COUNTS_FILE), json.dumps(counts).encode())


def count_corpus_words(
    reading: ReadOptions,
    count: Callable[[Sequence[str]], Counter[str]],
    directory: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    show_progress: bool = False,
    corpus: CorpusOptions = AS_READ,
) -> tuple[Counter[str], dict[str, int]]:
    """Word -> count over all documents by `count` (a function of a module, which workers import), and the counts of what was read; `directory` holds the parts while it runs.

    Raises InputError for inputs or options that break a rule.
    """
    check_corpus(corpus)
    inputs = find_sources(reading)
    options = runner_options(runner, num_workers, beam_arguments)
    check_writable(directory)
    with lock_directories([directory]):
        folder = join(directory, WORDS_FOLDER)
        remove(folder)
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
        counts: Counter[str] = Counter()
        read_counts = json.loads(read_bytes(join(folder, READ_COUNTS_FILE)))
        remove(join(folder, READ_COUNTS_FILE))
        for name in list_names(folder):
            counts.update(json.loads(read_bytes(join(folder, name))))
        remove(folder)
    return counts, read_counts
