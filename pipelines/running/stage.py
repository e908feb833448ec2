"""Stages: what each of them gives besides its documents, and the lines that it keeps beside the dataset."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from clozekit.pipelines.running.block_store import BlockStore, PutsBlocks, is_put
from clozekit.pipelines.running.dead_letters import DEAD_LETTERS, DeadLetter, batch_or_rows, dead_letter
from clozekit.pipelines.running.documents import item_of
from clozekit.pipelines.storage.files import join
from clozekit.tokenizers.storage.file_systems import write_bytes_whole

COUNTS = "counts"
SIDE_LINES = "side_lines"
DOCUMENTS_OUT = "documents"
DEADLETTER, REJECTS, DUPLICATES, CONTAMINATED = "deadletter", "rejects", "duplicates", "contaminated"
SIDE_FOLDERS = (DEADLETTER, REJECTS, DUPLICATES, CONTAMINATED)


class SideLines(NamedTuple):
    """JSON lines of documents that left the build: the folder they go to, a number that orders and spreads them, how
    many there are. StoreLines puts a block of a BlockStore in place of the lines."""

    folder: str
    number: int
    lines: bytes
    num_lines: int


class StageOutputs(NamedTuple):
    """What a stage gives: batches of documents, counts (name -> number), SideLines, DeadLetters, and what else it has."""

    documents: Any
    counts: Any
    side_lines: Any
    dead_letters: Any
    extra: Mapping[str, Any] = {}

    def joined_with(self, *earlier: "StageOutputs") -> "StageOutputs":
        """These documents, and the other outputs of this stage and of the earlier ones together."""
        stages = (self, *earlier)

        def together(name: str) -> Any:
            return tuple(getattr(stage, name) for stage in stages) | f"Join_{name}" >> beam.Flatten()

        return StageOutputs(self.documents, together(COUNTS), together(SIDE_LINES), together(DEAD_LETTERS))


def run_stage(
    inputs: Any, work: beam.DoFn, label: str, extra_tags: Sequence[str] = (), side_inputs: Sequence[Any] = ()
) -> StageOutputs:
    """Applies `work`, whose outputs are tagged as the functions below do."""
    outputs = inputs | label >> beam.ParDo(work, *side_inputs).with_outputs(
        COUNTS, SIDE_LINES, DEAD_LETTERS, *extra_tags, main=DOCUMENTS_OUT
    )
    return StageOutputs(
        outputs[DOCUMENTS_OUT],
        outputs[COUNTS],
        outputs[SIDE_LINES],
        outputs[DEAD_LETTERS],
        {tag: outputs[tag] for tag in extra_tags},
    )


def counts_output(counts: Mapping[str, int]) -> beam.pvalue.TaggedOutput:
    """The counts as an output, and on Beam's metrics, where runners show them as they grow."""
    for name, number in counts.items():
        Metrics.counter("clozekit", name).inc(number)
    return beam.pvalue.TaggedOutput(COUNTS, dict(counts))


def dead_letter_outputs(number: int, letter: DeadLetter) -> Iterator[beam.pvalue.TaggedOutput]:
    yield beam.pvalue.TaggedOutput(DEAD_LETTERS, letter)
    yield beam.pvalue.TaggedOutput(SIDE_LINES, SideLines(DEADLETTER, number, letter.to_line(), 1))


def side_output(
    folder: str,
    documents: pa.RecordBatch,
    paths: Sequence[str],
    sources: Sequence[str],
    details: Sequence[Mapping[str, Any]],
    with_text: bool,
) -> Iterator[beam.pvalue.TaggedOutput]:
    """The documents of a batch as lines of `folder`: where each came from, its details, its text when wanted."""
    if not documents.num_rows:
        return
    numbers = documents.column("number").to_pylist()
    columns = [documents.column(name).to_pylist() for name in ("id", "source", "offset")]
    texts = documents.column("text").to_pylist() if with_text else [None] * len(numbers)
    lines = []
    for number, identifier, source, offset, text, detail in zip(numbers, *columns, texts, details, strict=True):
        line = {
            "id": identifier,
            "source": sources[source],
            "input": paths[item_of(number)],
            "offset": offset,
            **detail,
        }
        lines.append(json.dumps(line if text is None else {**line, "text": text}, ensure_ascii=False) + "\n")
    content = "".join(lines).encode()
    yield beam.pvalue.TaggedOutput(SIDE_LINES, SideLines(folder, numbers[0], content, len(lines)))


class GuardedDoFn(beam.DoFn):
    """A DoFn over batches whose work a single document may break: that one becomes a dead letter, the others go on."""

    def __init__(self, stage: str, paths: Sequence[str]) -> None:
        self._stage = stage
        self._paths = paths

    def guard(self, work: Any, documents: pa.RecordBatch) -> tuple[pa.RecordBatch, list[beam.pvalue.TaggedOutput]]:
        """`work` of the documents, and the outputs of those that raised."""
        done, failed = batch_or_rows(work, documents)
        outputs: list[beam.pvalue.TaggedOutput] = []
        for row, error in failed:
            number, offset = (documents.column(name)[row].as_py() for name in ("number", "offset"))
            position = f"document {documents.column('id')[row].as_py()}"
            letter = dead_letter(self._stage, self._paths[item_of(number)], offset, position, error)
            outputs += dead_letter_outputs(number, letter)
        if failed:
            outputs.append(counts_output({"dead_lettered": len(failed)}))
        return done, outputs


class StoreLines(PutsBlocks):
    """SideLines -> the same with their lines in the store, once: rejected texts would fill the memory of a local runner."""

    def process(self, lines: SideLines) -> Iterable[SideLines]:
        yield lines if is_put(lines.lines) else lines._replace(lines=self._blocks.put(lines.lines))


def _part(lines: SideLines, num_parts: int) -> tuple[tuple[str, int], SideLines]:
    # Fibonacci hashing: consecutive numbers go to different parts.
    spread = lines.number * 0x9E3779B97F4A7C15 % 2**64 >> 32
    return (lines.folder, spread * num_parts >> 32), lines


class _WritePart(beam.DoFn):
    """((folder, part), SideLines) -> (folder, number of lines written)."""

    def __init__(self, directory: str, build: str, store: BlockStore) -> None:
        self._directory = directory
        self._build = build
        self._store = store

    def process(self, element: tuple[tuple[str, int], Iterable[SideLines]]) -> Iterable[tuple[str, int]]:
        (folder, part), parts = element
        taken = (lines._replace(lines=self._store.take(lines.lines)) for lines in parts)
        ordered = sorted(taken, key=lambda lines: (lines.number, lines.lines))
        content = b"".join(lines.lines for lines in ordered)
        # Two builds of one output leave each other's files alone.
        name = f"part-{part:05d}-{self._build}.jsonl"
        if folder == REJECTS:
            # It holds whole texts.
            name, content = name + ".gz", gzip.compress(content, 6, mtime=0)
        write_bytes_whole(join(self._directory, folder, name), content)
        yield folder, sum(lines.num_lines for lines in ordered)


class WriteSideLines(beam.PTransform):
    """Stored SideLines -> JSON lines files beside the dataset, and (folder, lines written) for the account.

    build: stands in the names of the files.
    """

    def __init__(self, directory: str, build: str, num_parts: int, store: BlockStore) -> None:
        super().__init__()
        self._directory = directory
        self._build = build
        self._num_parts = num_parts
        self._store = store

    def expand(self, lines: Any) -> Any:
        return (
            lines
            | "Part" >> beam.Map(_part, self._num_parts)
            | "GroupParts" >> beam.GroupByKey()
            | "WriteParts" >> beam.ParDo(_WritePart(self._directory, self._build, self._store))
        )
