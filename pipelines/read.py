"""Reading: files to batches of documents, and to dead letters for the records that can't be read."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from clozekit.pipelines.dead_letters import DeadLetter, dead_letter
from clozekit.pipelines.documents import ITEM_SHIFT, Document, make_batch, text_id
from clozekit.pipelines.files import COMPRESSION_SUFFIXES, InputFile, find_inputs, open_input
from clozekit.pipelines.formats import Format, format_of
from clozekit.pipelines.options import ReadOptions
from clozekit.pipelines.progress import Progress, ProgressReporter
from clozekit.pipelines.stage import (
    REJECTS,
    SIDE_LINES,
    SideLines,
    counts_output,
    dead_letter_outputs,
    run_stage,
)
from clozekit.tokenizers.errors import InputError

# Elements are batches: one document an element costs 2.5 times the CPU (measured, Beam 2.77).
MAX_BATCH_DOCUMENTS = 1000
MAX_BATCH_CHARACTERS = 2_000_000
# A large plain file is read by several workers, in ranges of this many bytes.
RANGE_BYTES = 64_000_000


@dataclass(frozen=True)
class WorkItem:
    """What one worker reads in a row: the records of `file` that begin in [start, end); end None: to the file's end."""

    number: int
    file: InputFile
    source: int
    start: int = 0
    end: int | None = None

    @property
    def num_bytes(self) -> int:
        return (self.file.num_bytes if self.end is None else self.end) - self.start


def find_sources(options: ReadOptions) -> tuple[InputFile, ...]:
    """The files of all sources, sorted by path. Raises InputError for what `find_inputs` refuses, and for a file that
    two sources name."""
    found: dict[str, InputFile] = {}
    for source in options.all_sources:
        for file in find_inputs(source.inputs, source.name):
            if file.path in found:
                raise InputError(
                    f"a file belongs to one source, {file.path} is in {found[file.path].source!r} and {source.name!r};"
                    " take it out of one"
                )
            found[file.path] = file
    return tuple(found[path] for path in sorted(found))


def split_files(files: Sequence[InputFile], options: ReadOptions) -> tuple[WorkItem, ...]:
    """The work items of all files: ranges of the large ones that can be read from the middle, the others whole."""
    indices = {source.name: index for index, source in enumerate(options.all_sources)}
    items: list[WorkItem] = []
    for file in files:
        ranges = 1
        if format_of(file.path, options).is_splittable:
            ranges = max(1, -(-file.num_bytes // RANGE_BYTES))
        bounds = [file.num_bytes * index // ranges for index in range(ranges)]
        for start, end in zip(bounds, [*bounds[1:], None], strict=True):
            items.append(WorkItem(len(items), file, indices[file.source], start, end))
    return tuple(items)


def group_items(items: Sequence[WorkItem]) -> list[tuple[WorkItem, ...]]:
    """Items in groups that one worker reads in a row, so that many small files still make full batches."""
    groups: list[list[WorkItem]] = []
    room = 0
    for item in items:
        if not groups or room < item.num_bytes:
            groups.append([])
            room = MAX_BATCH_CHARACTERS
        groups[-1].append(item)
        room -= item.num_bytes
    return [tuple(group) for group in groups]


def read_item(item: WorkItem, options: ReadOptions) -> Iterator[tuple[int, Document | DeadLetter]]:
    """(offset, document or dead letter) of each record. Raises InputError for a compressed file that is damaged."""
    format_ = format_of(item.file.path, options)
    try:
        with open_input(item.file.path) as stream:
            for piece in format_.cut(stream, item.start, item.end):
                yield piece.offset, _parse(piece, format_, item, options)
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        kind = next((suffix for suffix in COMPRESSION_SUFFIXES if item.file.path.endswith(suffix)), None)
        # An error of the system has a number, that of a decompressor has none.
        if kind is None or getattr(error, "errno", None) is not None:
            raise
        name = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}[kind]
        raise InputError(
            f"a {kind} input must be whole {name}, {item.file.path} is damaged or cut short ({error}); fetch it again"
        ) from error


def _parse(piece: Any, format_: Format, item: WorkItem, options: ReadOptions) -> Document | DeadLetter:
    try:
        if piece.content is None:
            raise InputError(
                f"a document may have {options.max_document_mb:g} MB (--max-document-mb), this one has more; raise the"
                " limit, or cut the file with --document line or block"
            )
        return format_.parse(piece.content)
    except Exception as error:
        return dead_letter("read", item.file.path, piece.offset, format_.position(piece), error)


class _ReadItems(beam.DoFn):
    """Group of WorkItem -> batches of documents, and the other outputs of a stage."""

    def __init__(self, options: ReadOptions, progress: Progress | None) -> None:
        self._options = options
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "read")

    def process(self, items: tuple[WorkItem, ...]) -> Iterable[Any]:
        counts = {"documents_in": 0, "dead_lettered": 0, "rejected_empty": 0}
        waiting: list[tuple[int, str | None, str, int, int]] = []
        characters = 0
        for item in items:
            reported = 0
            for number, (offset, record) in enumerate(read_item(item, self._options), item.number << ITEM_SHIFT):
                counts["documents_in"] += 1
                if isinstance(record, DeadLetter):
                    counts["dead_lettered"] += 1
                    yield from dead_letter_outputs(number, record)
                elif not record.text.strip():
                    counts["rejected_empty"] += 1
                    yield self._rejected(number, offset, item, record)
                else:
                    waiting.append((number, record.key, record.text, item.source, offset))
                    characters += len(record.text)
                if len(waiting) >= MAX_BATCH_DOCUMENTS or characters >= MAX_BATCH_CHARACTERS:
                    yield make_batch(*zip(*waiting, strict=True))
                    # Characters stand in for bytes until the file ends: gzip does not tell how far it is.
                    self._reporter.add(characters)
                    reported += characters
                    waiting, characters = [], 0
            self._reporter.add(max(0, item.num_bytes - reported))
        if waiting:
            yield make_batch(*zip(*waiting, strict=True))
        yield counts_output(counts)

    def _rejected(self, number: int, offset: int, item: WorkItem, record: Document) -> beam.pvalue.TaggedOutput:
        fields = {
            "id": text_id(record.text.encode()) if record.key is None else record.key,
            "source": item.file.source,
            "input": item.file.path,
            "offset": offset,
            "rule": "empty",
        }
        line = json.dumps(fields, ensure_ascii=False).encode() + b"\n"
        return beam.pvalue.TaggedOutput(SIDE_LINES, SideLines(REJECTS, number, line, 1))


class ReadDocuments(beam.PTransform):
    """The documents of `items` (what `split_files` gives), as `StageOutputs`.

    Example:
        files = find_sources(options)
        read = pipeline | ReadDocuments(split_files(files, options), options)
        read.documents | beam.Map(lambda batch: batch.num_rows)
    """

    def __init__(self, items: Sequence[WorkItem], options: ReadOptions, progress: Progress | None = None) -> None:
        super().__init__()
        self._items = items
        self._options = options
        self._progress = progress

    def expand(self, root: Any) -> Any:
        return run_stage(
            root | "Items" >> beam.Create(group_items(self._items)), _ReadItems(self._options, self._progress), "Read"
        )
