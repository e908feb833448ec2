"""Committing: when every shard is whole and every document accounted for, the manifest is written, last of all."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import apache_beam as beam
import numpy as np

from clozekit.pipelines.files import join, write_bytes
from clozekit.pipelines.manifest import (
    MANIFEST_FILE,
    Manifest,
    ShardInfo,
    SplitInfo,
    TokenizerInfo,
    dataset_fingerprint,
    manifest_to_json,
)
from clozekit.pipelines.plan import GroupRows, ShardPlan
from clozekit.pipelines.tokenizer_files import TOKENIZER_FOLDER, save_tokenizer_to
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import load_tokenizer

HISTOGRAM_BINS = 32


@dataclass(frozen=True)
class BuildInfo:
    """What is known of a build before it runs."""

    build_id: str
    sequence_length: int
    settings: Mapping[str, Any]
    tokenizer: TokenizerInfo
    inputs: tuple[Mapping[str, Any], ...]
    runner: str


def histogram_bin_width(sequence_length: int) -> int:
    return -(-sequence_length // HISTOGRAM_BINS)


def length_histogram(lengths: np.ndarray, sequence_length: int) -> tuple[int, ...]:
    """Counts of lengths 1..sequence_length in bins of `histogram_bin_width`."""
    width = histogram_bin_width(sequence_length)
    return tuple(np.bincount((lengths - 1) // width, minlength=-(-sequence_length // width)).tolist())


def check_account(counts: Mapping[str, int]) -> None:
    """Raises RuntimeError unless documents in = kept + rejected by rule + dead-lettered, exactly."""
    kept = sum(number for name, number in counts.items() if name.startswith("documents_") and name != "documents_in")
    rejected = sum(number for name, number in counts.items() if name.startswith("rejected_"))
    total = kept + rejected + counts.get("dead_lettered", 0)
    if total != counts.get("documents_in", 0):
        raise RuntimeError(
            f"documents were lost or doubled: {counts.get('documents_in', 0)} in, {total} accounted for: {counts}"
        )


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


def assemble_manifest(
    build: BuildInfo,
    counts: Mapping[str, int],
    groups: Sequence[GroupRows],
    plans: Mapping[str, ShardPlan],
    shards: Sequence[tuple[str, int, ShardInfo]],
) -> Manifest:
    """The manifest of a finished build. Raises InputError when nothing was kept, RuntimeError when shards are missing."""
    check_account(counts)
    if not plans and counts.get("documents_of_other_lengths", 0) + counts.get("rejected_too_long", 0):
        raise InputError(
            f"rows of {build.sequence_length} tokens must hold at least one document, none has that length; leave it out of"
            " --sequence-length, or cut long documents"
        )
    if not plans:
        raise InputError(
            f"the inputs must hold at least one document with text, {counts.get('documents_in', 0)} were read and none"
            f" has any; check --input, --document and --text-key (read {len(build.inputs)} files)"
        )
    width = histogram_bin_width(build.sequence_length)
    splits = {}
    for split, plan in plans.items():
        infos = [info for name, _, info in sorted(shards, key=lambda shard: shard[1]) if name == split]
        bounds = tuple(info.first_row for info in infos)
        if bounds != plan.shard_bounds[:-1] or sum(info.rows for info in infos) != plan.shard_bounds[-1]:
            raise RuntimeError(f"shards of {split} are missing or doubled: planned {plan.shard_bounds}, got {bounds}")
        packed = [group for group in groups if group.split == split]
        check_nothing_lost(split, counts[f"pieces_{split}"], packed, infos)
        histogram = np.sum([group.length_histogram for group in packed], axis=0)
        splits[split] = SplitInfo(tuple(infos), tuple(histogram.tolist()), width)
    libraries = {
        name: version(name) for name in ("clozekit", "apache-beam", "tfx-bsl", "tokenizers", "numpy", "pyarrow")
    }
    return Manifest(
        build_id=build.build_id,
        sequence_length=build.sequence_length,
        settings=build.settings,
        tokenizer=build.tokenizer,
        inputs=build.inputs,
        splits=splits,
        counts=dict(sorted(counts.items())),
        environment={"python": sys.version.split()[0], "runner": build.runner, **libraries},
        dataset_sha256=dataset_fingerprint(splits),
    )


class CommitDataset(beam.DoFn):
    """Copies the tokenizer beside the shards, then writes the manifest, which makes a dataset of them."""

    def __init__(self, directory: str, tokenizer_directory: str, build: BuildInfo) -> None:
        self._directory = directory
        self._tokenizer_directory = tokenizer_directory
        self._build = build

    def process(
        self,
        _: None,
        counts: Mapping[str, int],
        groups: Sequence[GroupRows],
        plans: Mapping[str, ShardPlan],
        shards: Sequence[tuple[str, int, ShardInfo]],
    ) -> Iterable[str]:
        manifest = assemble_manifest(self._build, counts, groups, plans, shards)
        save_tokenizer_to(load_tokenizer(self._tokenizer_directory), join(self._directory, TOKENIZER_FOLDER))
        write_bytes(join(self._directory, MANIFEST_FILE), manifest_to_json(manifest).encode())
        yield manifest.dataset_sha256
