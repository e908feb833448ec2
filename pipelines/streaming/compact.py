"""Compacting: a chain, or its last windows, as one ordinary dataset: deduplicated and shuffled over all of it.

The frozen panes hold the texts as they were selected, so what follows is the second half of `prepare`, on any runner: the
dataset has the same dataset_sha256 as one prepared of the same documents.
"""

import dataclasses
import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clozekit.pipelines.build_datasets import Running, Selection, build_datasets
from clozekit.pipelines.dataset.chain import Fragment, Genesis, read_chain, read_genesis
from clozekit.pipelines.dataset.chain_coverage import check_coverage, pruned_of
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.stream_limits import MAX_TIME
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER
from clozekit.pipelines.duplicates.deduplicate import Deduplicate
from clozekit.pipelines.prepare import BUILD_VERSION
from clozekit.pipelines.rows.commit import BuildInfo
from clozekit.pipelines.rows.make_dataset import Target
from clozekit.pipelines.rows.split import SplitDocuments
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.documents import DOCUMENTS, ITEM_SHIFT
from clozekit.pipelines.running.progress import Progress, ProgressReporter
from clozekit.pipelines.running.runners import LOCAL_RUNNER, runner_options
from clozekit.pipelines.running.stage import (
    CONTAMINATED,
    SIDE_LINES,
    SideLines,
    StageOutputs,
    StoreLines,
    counts_output,
    run_stage,
)
from clozekit.pipelines.settings.compact_settings import CompactSettings
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, options_of_lengths
from clozekit.pipelines.storage.files import InputFile, join, read_bytes
from clozekit.pipelines.streaming.choose_deliveries import hashes_of
from clozekit.pipelines.streaming.known_hashes import KnownHashes
from clozekit.pipelines.streaming.open_stream import prepare_settings_of
from clozekit.pipelines.streaming.pane import KEPT, read_frozen, read_pane
from clozekit.pipelines.text_files.file_states import states_of
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

# As many as `prepare` reads into one element.
_MAX_BATCH_DOCUMENTS = 1000
_PART_BYTES = 64_000_000


@dataclass(frozen=True)
class PaneItem:
    """What one worker reads in a row: the documents of a frozen pane that are asked for. wanted: a bit a document."""

    number: int
    path: str
    wanted: bytes


class _ReadPanes(beam.DoFn):
    """PaneItem -> batches of documents, and the other outputs of a stage: of those that were not selected when they came."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "read")

    def process(self, item: PaneItem) -> Iterable[Any]:
        content = read_bytes(item.path)
        documents = read_pane(content, item.path).documents
        self._reporter.add(len(content))
        wanted = np.unpackbits(np.frombuffer(item.wanted, np.uint8), count=documents.num_rows).astype(bool)
        goes_on = documents.column("text").combine_chunks().is_valid().to_numpy(False)
        outcomes = documents.column("outcome").to_pylist()
        counts = Counter({"documents_in": int(wanted.sum()), "rejected_empty": 0})
        counts.update(outcomes[row] for row in np.flatnonzero(wanted & ~goes_on).tolist())
        columns = [documents.column(name).to_pylist() for name in ("folder", "line")]
        for row, (folder, line) in enumerate(zip(*columns, strict=True)):
            if folder is not None and wanted[row]:
                if folder == CONTAMINATED and outcomes[row] == KEPT:
                    counts["reported_contaminated"] += 1
                number = item.number << ITEM_SHIFT | row
                yield beam.pvalue.TaggedOutput(SIDE_LINES, SideLines(folder, number, line, 1))
        yield counts_output(counts)
        rows = np.flatnonzero(wanted & goes_on)
        for start in range(0, len(rows), _MAX_BATCH_DOCUMENTS):
            some = rows[start : start + _MAX_BATCH_DOCUMENTS]
            chosen = documents.take(pa.array(some)).combine_chunks()
            found = [
                pa.array((np.uint64(item.number) << np.uint64(ITEM_SHIFT)) | some.astype(np.uint64)),
                chosen.column("id").combine_chunks().cast(pa.string()),
                chosen.column("text").combine_chunks(),
                pa.array(np.zeros(len(some), np.int32)),
                pa.array(some.astype(np.int64)),
            ]
            yield pa.RecordBatch.from_arrays(found, schema=DOCUMENTS)


class SelectFrozen(beam.PTransform):
    """From the root of a pipeline the documents of frozen panes, split and deduplicated, as `SelectDocuments` gives those of
    files."""

    def __init__(
        self,
        items: Sequence[PaneItem],
        deduplicate: DeduplicateSettings,
        options: PrepareSettings,
        num_parts: int,
        store: BlockStore,
        progress: Progress | None,
    ) -> None:
        super().__init__()
        self._progress = progress
        self._items = items
        self._deduplicate = deduplicate
        self._options = options
        self._num_parts = num_parts
        self._store = store

    def expand(self, root: Any) -> Any:
        """Adds the stages; Beam calls it."""
        paths = [item.path for item in self._items]
        read = run_stage(
            root | "Panes" >> beam.Create(self._items) | beam.Reshuffle(), _ReadPanes(self._progress), "ReadPanes"
        )
        stages = [self._stored(read, "StorePanes")]
        split = SplitDocuments(self._options.seed, self._options.validation_rate)
        documents = read.documents | "SplitDocuments" >> split
        if self._deduplicate.kind != "none":
            found = documents | Deduplicate(self._deduplicate, self._num_parts, [""], paths, self._store)
            stages.append(self._stored(found, "StoreDuplicates"))
            documents = found.documents
        return stages[-1]._replace(documents=documents).joined_with(*stages[:-1])

    def _stored(self, outputs: StageOutputs, label: str) -> StageOutputs:
        return outputs._replace(side_lines=outputs.side_lines | label >> beam.ParDo(StoreLines(self._store)))


def choose_fragments(fragments: Sequence[Fragment], settings: CompactSettings) -> list[Fragment]:
    """Those of the windows that are asked for. Raises InputError when there is none."""
    starts = sorted({fragment.window_start for fragment in fragments})
    if settings.last is not None:
        starts = starts[-settings.last :]
    since, until = settings.bounds()
    wanted = {start for start in starts if (since is None or start >= since) and (until is None or start < until)}
    chosen = [fragment for fragment in fragments if fragment.window_start in wanted]
    if not chosen:
        raise InputError(
            f"what is compacted must have at least one window, {len(fragments)} fragments of the stream have none of those;"
            " leave --last, --since and --until out for all of them"
        )
    return chosen


def items_of(directory: str, fragments: Sequence[Fragment], chosen: Sequence[Fragment]) -> list[PaneItem]:
    """Of each chosen fragment the documents that came first with it, and not too late. fragments: the whole chain."""
    numbers, gone = {fragment.number for fragment in chosen}, pruned_of(fragments).panes
    lost = [fragment for fragment in chosen if fragment.number < gone]
    if lost:
        since = max(fragment.window_start for fragment in fragments[:gone]) + 1
        raise InputError(
            f"windows are compacted from their panes, those of fragments {lost[0].number} to {lost[-1].number} of {directory}"
            f" were pruned; pass --since {datetime.datetime.fromtimestamp(since, datetime.UTC):%Y-%m-%dT%H:%M:%S}, or take a"
            " dataset that was made before"
        )
    windows = [fragment for fragment in fragments[gone:] if fragment.frozen is not None]
    sizes = [fragment.pane.entries for fragment in windows]
    columns = ["delivery_0", "delivery_1"]
    parts = [hashes_of(read_frozen(directory, window.pane).documents.select(columns), "delivery") for window in windows]
    hashes = np.concatenate(parts) if parts else np.zeros((0, 2), np.uint64)
    is_first = np.zeros(len(hashes), bool)
    as_one = np.ascontiguousarray(hashes).view([("high", np.uint64), ("low", np.uint64)]).reshape(-1)
    is_first[np.unique(as_one, return_index=True)[1]] = True
    if gone:
        before = KnownHashes(directory, "deliveries", fragments[gone - 1].known["deliveries"])
        is_first &= ~before.look_up(hashes, -MAX_TIME).is_known
    items: list[PaneItem] = []
    end = 0
    for fragment, size in zip(windows, sizes, strict=True):
        begin, end = end, end + size
        if fragment.number in numbers and not fragment.counts.get("documents_late"):
            wanted = np.packbits(is_first[begin:end]).tobytes()
            items.append(PaneItem(len(items), join(directory, fragment.pane.name), wanted))
    return items


def compact(
    stream: str,
    directory: str,
    settings: CompactSettings | None = None,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
) -> dict[str, tuple[Manifest, bool]]:
    """Builds an ordinary dataset of the documents of a stream, each once.

    Args:
        stream: its directory, a path or a URL.
        directory: where the dataset goes, or the folders of several lengths.
        settings: which windows, and what of the stream's settings is to be otherwise.
        runner, num_workers, beam_arguments, overwrite, show_progress: see `prepare`.

    Returns:
        directory -> the manifest of the dataset there, and whether anything had to be done.

    Raises:
        InputError: for a stream that is damaged or holds none of the windows, and what `prepare` refuses.

    Example:

        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> from clozekit.pipelines.streaming.compact import compact
        >>> ((manifest, built),) = compact("tiny/stream", "tiny/compacted").values()
        >>> built, manifest.dataset_sha256 == read_manifest("tiny/dataset").dataset_sha256
        (True, True)
    """
    settings = settings or CompactSettings()
    genesis = read_genesis(stream)
    fragments = list(read_chain(stream))
    check_coverage(fragments)
    chosen = choose_fragments([fragment for fragment in fragments if fragment.frozen is not None], settings)
    tokenizer_directory = join(stream, TOKENIZER_FOLDER)
    tokenizer = load_tokenizer(tokenizer_directory)
    items = items_of(stream, fragments, chosen)
    deduplicate = _deduplicate_of(genesis, settings)
    options = prepare_settings_of(genesis)
    lengths = settings.sequence_length or (options.sequence_length,)
    each = options_of_lengths(dataclasses.replace(options, sequence_length=lengths[0]), lengths)
    targets = [
        Target(
            directory if len(each) == 1 else join(directory, str(one.sequence_length)),
            one,
            _describe(genesis, stream, chosen, deduplicate, one, runner),
        )
        for one in each
    ]
    num_parts = 1 + sum(fragment.pane.num_bytes for fragment in chosen) // _PART_BYTES

    def select(store: BlockStore, progress: Progress | None) -> SelectFrozen:
        return SelectFrozen(items, deduplicate, each[0], num_parts, store, progress)

    inputs = [InputFile(one["path"], one["num_bytes"], one["version"]) for one in targets[0].build.inputs]
    # Bad records were counted when they came.
    selection = Selection(select, [item.path for item in items], num_parts, 1.0, inputs)
    running = Running(runner, runner_options(runner, num_workers, beam_arguments), overwrite, show_progress)
    results = build_datasets(selection, targets, tokenizer_directory, tokenizer, directory, running)
    return {target.directory: result for target, result in zip(targets, results, strict=True)}


def _deduplicate_of(genesis: Genesis, settings: CompactSettings) -> DeduplicateSettings:
    of_stream = DeduplicateSettings(**genesis.settings["corpus"]["deduplicate"])
    return of_stream if settings.deduplicate is None else dataclasses.replace(of_stream, kind=settings.deduplicate)


def _describe(
    genesis: Genesis,
    stream: str,
    chosen: Sequence[Fragment],
    deduplicate: DeduplicateSettings,
    options: PrepareSettings,
    runner: str,
) -> BuildInfo:
    """The build and its id, as `describe_build` has them: the chosen panes in place of files."""
    corpus = {**genesis.settings["corpus"], "deduplicate": dataclasses.asdict(deduplicate)}
    settings = {"corpus": corpus, "prepare": options.to_dict()}
    inputs = tuple(
        {
            "path": join(stream, fragment.pane.name),
            "num_bytes": fragment.pane.num_bytes,
            "version": fragment.pane.sha256,
            "source": "",
        }
        for fragment in chosen
    )
    # Where a stream stands changes nothing.
    decides = [BUILD_VERSION, settings, [fragment.sha256 for fragment in chosen], genesis.tokenizer.sha256]
    build_id = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    states = states_of([str(one["path"]) for one in inputs])
    return BuildInfo(build_id, options.sequence_length, settings, genesis.tokenizer, inputs, runner, states)
