"""Counting the words of a corpus: batch-local counters, summed by the hash of the word, so memory stays bounded."""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton

from clozekit.pipelines.dead_letters import check_bad_rate
from clozekit.pipelines.files import check_writable, find_inputs, join, list_names, read_bytes, remove, write_bytes
from clozekit.pipelines.merge_counts import MergeCounts
from clozekit.pipelines.options import ReadOptions
from clozekit.pipelines.progress import Progress, ProgressReporter, local_progress
from clozekit.pipelines.read import BAD_RECORDS, READ_COUNTS, BadRecord, ReadFiles, group_files
from clozekit.pipelines.runners import LOCAL_RUNNER, failures_in_one_line, runner_options
from clozekit.tokenizers.learn_vocabulary import count_words

NUM_PARTITIONS = 64
WORDS_FOLDER = "_words"
READ_COUNTS_FILE = "read-counts.json"


class CountWords(beam.DoFn):
    """Batch of documents -> (partition of the word, counts of its words)."""

    def __init__(self, lowercase: bool, progress: Progress | None) -> None:
        self._lowercase = lowercase
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "counted")

    def process(self, documents: pa.RecordBatch) -> Iterable[tuple[int, dict[str, int]]]:
        parts: dict[int, dict[str, int]] = {}
        counts = count_words(documents.column("text").to_pylist(), self._lowercase)
        for word, count in counts.items():
            parts.setdefault(zlib.crc32(word.encode()) % NUM_PARTITIONS, {})[word] = count
        self._reporter.add(counts.total())
        yield from parts.items()


def write_word_counts(element: tuple[int, dict[str, int]], _gate: Any, directory: str) -> int:
    partition, counts = element
    write_bytes(join(directory, f"{partition:03d}.json"), json.dumps(counts, sort_keys=True).encode())
    return partition


def note_counts(counts: dict[str, int], examples: Sequence[BadRecord], max_bad_rate: float, directory: str) -> None:
    check_bad_rate(counts, examples, max_bad_rate)
    write_bytes(join(directory, READ_COUNTS_FILE), json.dumps(counts).encode())


def count_corpus_words(
    reading: ReadOptions,
    lowercase: bool,
    directory: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    show_progress: bool = False,
) -> tuple[Counter[str], dict[str, int]]:
    """Word -> count over all documents, and the counts of what was read; `directory` holds the parts while it runs.

    Raises InputError for inputs or options that break a rule.
    """
    inputs = find_inputs(reading.inputs)
    options = runner_options(runner, num_workers, beam_arguments)
    check_writable(directory)
    folder = join(directory, WORDS_FOLDER)
    remove(folder)
    with (
        local_progress(
            show_progress and runner == LOCAL_RUNNER, inputs, {"read": "B", "counted": " words"}
        ) as progress,
        failures_in_one_line(),
        beam.Pipeline(options=options) as root,
    ):
        read = (
            root
            | "Inputs" >> beam.Create(group_files(inputs))
            | "Read"
            >> beam.ParDo(ReadFiles(reading, progress)).with_outputs(BAD_RECORDS, READ_COUNTS, main="documents")
        )
        examples = read[BAD_RECORDS] | "BadExamples" >> beam.combiners.Top.Smallest(1)
        gate = (
            read[READ_COUNTS]
            | "SumCounts" >> beam.CombineGlobally(MergeCounts())
            | "CheckCounts" >> beam.Map(note_counts, AsSingleton(examples), reading.max_bad_rate, folder)
        )
        _ = (
            read.documents
            | "Count" >> beam.ParDo(CountWords(lowercase, progress))
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
