"""What must add up: documents in and out, pieces encoded, packed and written; and how long rows' pieces are. No Beam."""

from collections.abc import Mapping, Sequence

import numpy as np

from clozekit.pipelines.dataset.manifest import ShardInfo
from clozekit.pipelines.dataset.manifest_schema import histogram_bin_width
from clozekit.pipelines.rows.plan import GroupRows


def length_histogram(lengths: np.ndarray, sequence_length: int) -> tuple[int, ...]:
    """Counts of lengths 1..sequence_length in bins of `histogram_bin_width`."""
    width = histogram_bin_width(sequence_length)
    return tuple(np.bincount((lengths - 1) // width, minlength=-(-sequence_length // width)).tolist())


def check_account(counts: Mapping[str, int]) -> None:
    """Raises RuntimeError unless documents in = kept + rejected by rule + duplicates + contaminated + dead-lettered,
    exactly. Copies that a weight above 1 adds count as documents that came in."""
    came_in = counts.get("documents_in", 0) + counts.get("copies_added", 0)
    left = ("documents_", "rejected_", "duplicates_", "contaminated", "dead_lettered")
    total = sum(number for name, number in counts.items() if name.startswith(left) and name != "documents_in")
    if total != came_in:
        raise RuntimeError(f"documents were lost or doubled: {came_in} in, {total} accounted for: {counts}")


def check_nothing_lost(split: str, pieces: int, groups: Sequence[GroupRows], shards: Sequence[ShardInfo]) -> None:
    """Raises RuntimeError unless what was encoded, what was packed and what was written agree."""
    packed = (
        sum(group.pieces for group in groups),
        sum(group.rows for group in groups),
        sum(group.tokens for group in groups),
    )
    written = (sum(s.pieces for s in shards), sum(s.rows for s in shards), sum(s.tokens for s in shards))
    if packed != written or packed[0] != pieces:
        raise RuntimeError(
            f"pieces of {split} were lost or doubled: {pieces} encoded; (pieces, rows, tokens) packed {packed}, written {written}"
        )
