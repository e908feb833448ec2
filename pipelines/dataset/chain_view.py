"""A chain, or a part of it, as the manifest of an ordinary dataset: what readers and checks of datasets take. No Beam.

The rows of a shard are numbered from 0 within their fragment; here the shards of all fragments follow one another.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence

from clozekit.pipelines.dataset.chain import Fragment, Genesis
from clozekit.pipelines.dataset.manifest import Manifest, ShardInfo, SplitInfo, dataset_fingerprint
from clozekit.pipelines.dataset.records import SPLITS


def view_of(genesis: Genesis, fragments: Sequence[Fragment]) -> Manifest:
    """The manifest of the rows of some fragments, in their order.

    Args:
        genesis: of the stream.
        fragments: those that are seen, the oldest first.

    Returns:
        A manifest whose shards are files below the stream's folder; first_row counts from the first fragment that is seen.
        A split without rows is left out.
    """
    splits = {}
    for split in SPLITS:
        shards: list[ShardInfo] = []
        histogram: list[int] = []
        rows = width = 0
        for fragment in fragments:
            if split not in fragment.splits:
                continue
            info = fragment.splits[split]
            shards += [dataclasses.replace(shard, first_row=rows + shard.first_row) for shard in info.shards]
            histogram = [
                a + b for a, b in zip(histogram or [0] * len(info.length_histogram), info.length_histogram, strict=True)
            ]
            width = info.histogram_bin_width
            rows += info.rows
        if shards:
            splits[split] = SplitInfo(tuple(shards), tuple(histogram), width)
    counts: Counter[str] = Counter()
    for fragment in fragments:
        counts.update(fragment.counts)
    parts = [genesis.sha256, *(fragment.sha256 for fragment in fragments)]
    return Manifest(
        build_id=hashlib.sha256("".join(parts).encode()).hexdigest(),
        sequence_length=genesis.sequence_length,
        settings=genesis.settings,
        tokenizer=genesis.tokenizer,
        inputs=(),
        splits=splits,
        counts=dict(sorted(counts.items())),
        environment={},
        dataset_sha256=dataset_fingerprint(splits),
    )


def row_bases(fragments: Sequence[Fragment], split: str) -> tuple[int, ...]:
    """Of each shard of a view what the row ids in it are counted from, so that no two rows of a stream have one number."""
    return tuple(
        fragment.rows_before[split]
        for fragment in fragments
        if split in fragment.splits
        for _ in fragment.splits[split].shards
    )
