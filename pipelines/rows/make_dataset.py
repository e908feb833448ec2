"""Making one dataset of encoded pieces: groups, rows, shards, manifest, as a part of the graph."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton

from clozekit.pipelines.dataset.list_columns import list_parts
from clozekit.pipelines.rows.accounts import length_histogram
from clozekit.pipelines.rows.commit import BuildInfo, CommitDataset
from clozekit.pipelines.rows.pack import pack_group
from clozekit.pipelines.rows.plan import GroupRows, ShardPlan, cut_rows, group_of_keys, num_groups, plan_shards
from clozekit.pipelines.rows.write_shards import WriteShard
from clozekit.pipelines.running.block_store import BlockStore, PutsBlocks
from clozekit.pipelines.running.blocks import concatenate, cut_parts, from_bytes, to_bytes
from clozekit.pipelines.running.gathered_blocks import GathersBlocks, rows_kind
from clozekit.pipelines.running.progress import Progress, ProgressReporter
from clozekit.pipelines.settings.prepare_settings import PrepareSettings

GROUP_ROWS = "group_rows"
# About 8 million tokens, 32 MB of text: so many bytes are sent in a block for each group.
_GATHERED_BYTES = 32_000_000


@dataclass(frozen=True)
class Target:
    """One dataset of a build: where it goes, its settings, what is known of it before; seen: file that the commit writes
    -> its version when the build began."""

    directory: str
    options: PrepareSettings
    build: BuildInfo
    seen: Mapping[str, str | None] = field(default_factory=dict)


class AssignGroups(GathersBlocks):
    """(split, block of pieces) -> ((split, group), block), once the counts tell how many groups there are."""

    def __init__(self, group_size: int, store: BlockStore) -> None:
        super().__init__(store, [rows_kind(cut=_cut_groups)], _GATHERED_BYTES)
        self._group_size = group_size

    def process(self, element: tuple[str, bytes], counts: Mapping[str, int]) -> Iterable[Any]:
        split, block = element
        pieces = from_bytes(self._store.take(block))
        yield from self._gather((split, num_groups(counts, split, self._group_size)), pieces)


def _cut_groups(key: Hashable, pieces: pa.RecordBatch) -> Iterator[tuple[Hashable, pa.RecordBatch]]:
    """(split, number of groups), pieces -> the pieces of each group by (split, group)."""
    split, groups = cast("tuple[str, int]", key)
    for group, own in cut_parts(pieces, group_of_keys(pieces.column("key").to_numpy(), groups)):
        yield (split, group), own


class PackGroup(PutsBlocks):
    """((split, group), blocks of pieces) -> ((split, group), block of rows), and GroupRows."""

    def __init__(self, options: PrepareSettings, store: BlockStore, progress: Progress | None) -> None:
        super().__init__(store)
        self._options = options
        self._progress = progress

    def setup(self) -> None:
        super().setup()
        self._reporter = ProgressReporter(self._progress, "packed")

    def process(self, element: tuple[tuple[str, int], Iterable[bytes]]) -> Iterable[Any]:
        (split, group), blocks = element
        rows = pack_group(concatenate([self._store.take(block) for block in blocks]), self._options)
        tokens = list_parts(rows.column("token_ids"))[0]
        lengths = list_parts(rows.column("document_lengths"))[0]
        self._reporter.add(rows.num_rows)
        histogram = length_histogram(lengths, self._options.sequence_length)
        packed = GroupRows(split, group, rows.num_rows, len(tokens), len(lengths), histogram)
        yield beam.pvalue.TaggedOutput(GROUP_ROWS, packed)
        yield (split, group), self._blocks.put(to_bytes(rows))


class AssignShards(PutsBlocks):
    """((split, group), block of rows) -> ((split, shard, num_shards), (first row, block)), by the shard plan."""

    def process(
        self, element: tuple[tuple[str, int], bytes], plans: Mapping[str, ShardPlan]
    ) -> Iterable[tuple[tuple[str, int, int], tuple[int, bytes]]]:
        (split, group), block = element
        plan = plans[split]
        rows = from_bytes(self._store.take(block))
        start = plan.first_row_of_group[group]
        for shard, first, end in cut_rows(start, rows.num_rows, plan.shard_bounds):
            yield (
                (split, shard, plan.num_shards),
                (first, self._blocks.put(to_bytes(rows.slice(first - start, end - first)))),
            )


def add_dataset(
    root: beam.Pipeline,
    pieces: beam.PCollection,
    counts: beam.PCollection,
    target: Target,
    tokenizer_directory: str,
    side_files: beam.PCollection,
    store: BlockStore,
    progress: Progress | None,
) -> None:
    """Adds what makes one dataset of the pieces: groups, rows, shards, manifest."""
    options, directory, build = target.options, target.directory, target.build
    label = f"{options.sequence_length}"
    packed = (
        pieces
        | f"AssignGroups{label}" >> beam.ParDo(AssignGroups(options.group_size, store), AsSingleton(counts))
        | f"GroupPieces{label}" >> beam.GroupByKey()
        | f"Pack{label}" >> beam.ParDo(PackGroup(options, store, progress)).with_outputs(GROUP_ROWS, main="rows")
    )
    groups = packed[GROUP_ROWS]
    plans = (
        root
        | f"PlanOnce{label}" >> beam.Create([None])
        | f"PlanShards{label}" >> beam.Map(lambda _, packed: plan_shards(packed, options), AsList(groups))
    )
    shards = (
        packed.rows
        | f"AssignShards{label}" >> beam.ParDo(AssignShards(store), AsSingleton(plans))
        | f"GroupRows{label}" >> beam.GroupByKey()
        | f"WriteShards{label}" >> beam.ParDo(WriteShard(directory, build.build_id, store, progress))
    )
    _ = (
        root
        | f"CommitOnce{label}" >> beam.Create([None])
        | f"Commit{label}"
        >> beam.ParDo(
            CommitDataset(directory, tokenizer_directory, build, target.seen),
            AsSingleton(counts),
            AsList(groups),
            AsSingleton(plans),
            AsList(shards),
            AsList(side_files),
        )
    )
