"""The plan of a build: how many groups to pack, which rows each shard holds, all from counts alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.settings.prepare_settings import PrepareSettings

# An int64 list of token ids takes about two bytes an id as varints (measured 1.6 to 2.0 on English text).
BYTES_PER_TOKEN = 2


@dataclass(frozen=True)
class GroupRows:
    """What packing one group of a split gave."""

    split: str
    group: int
    rows: int
    tokens: int
    pieces: int
    length_histogram: tuple[int, ...]


@dataclass(frozen=True)
class ShardPlan:
    """Where the rows of one split go: the first row of each group, and the first row of each shard (and the end)."""

    first_row_of_group: Mapping[int, int]
    shard_bounds: tuple[int, ...]

    @property
    def num_shards(self) -> int:
        return len(self.shard_bounds) - 1


def num_groups(counts: Mapping[str, int], split: str, group_size: int) -> int:
    return max(1, math.ceil(counts.get(f"pieces_{split}", 0) / group_size))


def group_of_keys(keys: np.ndarray, groups: int) -> np.ndarray:
    """Group of each key (uint64): equal ranges of the upper 32 bits, so every group is a random share."""
    return ((keys >> np.uint64(32)) * np.uint64(groups) >> np.uint64(32)).astype(np.int64)


def plan_shards(packed: Sequence[GroupRows], options: PrepareSettings) -> dict[str, ShardPlan]:
    """Shards of each split that has rows: contiguous ranges of rows that differ by at most one row."""
    plans = {}
    for split in SPLITS:
        groups = sorted((group for group in packed if group.split == split), key=lambda group: group.group)
        rows = sum(group.rows for group in groups)
        if not rows:
            continue
        planned = options.num_shards if split == "train" else None
        if planned is None:
            tokens = sum(group.tokens for group in groups)
            planned = math.ceil(tokens * BYTES_PER_TOKEN / (options.shard_size_mb * 1e6))
        shards = min(max(1, planned), rows)
        first_rows, first = {}, 0
        for group in groups:
            first_rows[group.group] = first
            first += group.rows
        plans[split] = ShardPlan(first_rows, tuple(rows * shard // shards for shard in range(shards + 1)))
    return plans


def cut_rows(first_row: int, num_rows: int, bounds: Sequence[int]) -> list[tuple[int, int, int]]:
    """(shard, first row, end row) of each stretch of the rows `first_row` .. `first_row + num_rows` within one shard."""
    cuts = []
    row, end = first_row, first_row + num_rows
    while row < end:
        shard = int(np.searchsorted(bounds, row, side="right")) - 1
        stop = min(end, bounds[shard + 1])
        cuts.append((shard, row, stop))
        row = stop
    return cuts
