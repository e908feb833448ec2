"""Reading: files to batches of documents, and to dead letters for the records that can't be read."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from clozekit.pipelines.reading.file_formats import Format, format_of
from clozekit.pipelines.reading.input_files import Skipped, find_inputs
from clozekit.pipelines.running.dead_letters import DeadLetter, dead_letter
from clozekit.pipelines.running.documents import ITEM_SHIFT, Document, make_batch, text_id
from clozekit.pipelines.running.packed import pack, unpack
from clozekit.pipelines.running.progress import Progress, ProgressReporter
from clozekit.pipelines.running.stage import (
    REJECTS,
    SIDE_LINES,
    SideLines,
    counts_output,
    dead_letter_outputs,
    run_stage,
)
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.text_files.open_input import check_head, open_input
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_url

# Elements are batches: one document an element costs 2.5 times the CPU (measured, Beam 2.77).
MAX_BATCH_DOCUMENTS = 1000
MAX_BATCH_CHARACTERS = 2_000_000
# A large plain file is read by several workers, in ranges of this many bytes.
RANGE_BYTES = 64_000_000
# Work items of more groups are put into the graph in chunks of so many.
GROUPS_A_CHUNK = 5_000


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


def find_sources(
    options: ReadSettings, skipped: Skipped | None = None, outputs: Sequence[str] = ()
) -> tuple[InputFile, ...]:
    """The files of all sources, sorted by path. Raises InputError for what `find_inputs` refuses, for a file that two
    sources name, and for one that is known to be something else than its name says."""

    def check(path: str, head: bytes) -> None:
        check_head(head, path, format_of(path, options).is_text)

    found: dict[str, InputFile] = {}
    for source in options.all_sources:
        for file in find_inputs(source.inputs, source.name, skipped, outputs, check):
            # Whatever links lead to it.
            place = file.path if is_url(file.path) else os.path.realpath(file.path)
            if place in found:
                raise InputError(
                    f"a file belongs to one source, {file.path} is in {found[place].source!r} and {source.name!r};"
                    " take it out of one"
                )
            found[place] = file
    return tuple(sorted(found.values(), key=lambda file: file.path))


def split_files(files: Sequence[InputFile], options: ReadSettings) -> tuple[WorkItem, ...]:
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


def read_item(item: WorkItem, options: ReadSettings, time_key: str = "") -> Iterator[tuple[int, Document | DeadLetter]]:
    """(offset, document or dead letter) of each record; time_key: see `format_of`. Raises InputError for a compressed file that is
    damaged."""
    format_ = format_of(item.file.path, options, time_key)
    with open_input(item.file.path, format_.is_text) as stream:
        for piece in format_.cut(stream, item.start, item.end):
            yield piece.offset, _parse(piece, format_, item, options)


def _parse(piece: Any, format_: Format, item: WorkItem, options: ReadSettings) -> Document | DeadLetter:
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

    def __init__(self, options: ReadSettings, progress: Progress | None) -> None:
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


def _bare(group: tuple[WorkItem, ...]) -> tuple[WorkItem, ...]:
    """Without the versions, which nobody who reads needs: half of what is left when all is compressed."""
    return tuple(replace(item, file=replace(item.file, version="")) for item in group)


class ReadDocuments(beam.PTransform):
    """The documents of `items` (what `split_files` gives), as `StageOutputs`.

    Example:
        files = find_sources(options)
        read = pipeline | ReadDocuments(split_files(files, options), options)
        read.documents | beam.Map(lambda batch: batch.num_rows)
    """

    def __init__(self, items: Sequence[WorkItem], options: ReadSettings, progress: Progress | None = None) -> None:
        super().__init__()
        self._items = items
        self._options = options
        self._progress = progress

    def expand(self, root: Any) -> Any:
        groups = group_items(self._items)
        if len(groups) > GROUPS_A_CHUNK:
            # One by one in the graph, a million of them take Beam minutes and the driver gigabytes.
            starts = range(0, len(groups), GROUPS_A_CHUNK)
            chunks = [pack([_bare(group) for group in groups[start : start + GROUPS_A_CHUNK]]) for start in starts]
            items = (
                root
                | "Chunks" >> beam.Create(chunks)
                | "Items" >> beam.FlatMap(unpack)
                # Else a chunk is read by one worker.
                | "Spread" >> beam.Reshuffle()
            )
        else:
            items = root | "Items" >> beam.Create(groups)
        return run_stage(items, _ReadItems(self._options, self._progress), "Read")
