"""Committing: when every shard is whole and every document accounted for, the manifest is written, last of all."""

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import apache_beam as beam
import numpy as np

from clozekit.pipelines.dataset.manifest import (
    MANIFEST_FILE,
    Manifest,
    ShardInfo,
    SplitInfo,
    TokenizerInfo,
    dataset_fingerprint,
    has_manifest,
    manifest_to_json,
    read_manifest,
)
from clozekit.pipelines.dataset.manifest_schema import histogram_bin_width
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER, tokenizer_contents
from clozekit.pipelines.rows.accounts import check_account, check_nothing_lost
from clozekit.pipelines.rows.plan import GroupRows, ShardPlan
from clozekit.pipelines.running.packed import pack, unpack
from clozekit.pipelines.running.stage import CONTAMINATED, DEADLETTER, DUPLICATES, REJECTS
from clozekit.pipelines.storage.files import join, list_names, remove
from clozekit.pipelines.text_files.file_states import State, check_unchanged
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.storage.conditional_writes import ChangedMeanwhileError, version_of, write_if_unchanged
from clozekit.tokenizers.storage.owned_files import read_owned


@dataclass(frozen=True)
class BuildInfo:
    """What is known of a build before it runs."""

    build_id: str
    sequence_length: int
    settings: Mapping[str, Any]
    tokenizer: TokenizerInfo
    inputs: tuple[Mapping[str, Any], ...]
    runner: str
    # Of all files that are read, when the run began; and how many files its folders and globs hold beside them.
    states: Mapping[str, State] = dataclasses.field(default_factory=dict)
    num_skipped: int = 0


def check_side_files(counts: Mapping[str, int], side_files: Sequence[tuple[str, int]]) -> None:
    """Raises RuntimeError unless the files beside the dataset hold a line for every document that left the build."""
    rejected = sum(number for name, number in counts.items() if name.startswith("rejected_"))
    expected = {
        DEADLETTER: counts.get("dead_lettered", 0),
        # What has no tokens, or too many, is found behind the stages that keep lines.
        REJECTS: rejected - counts.get("rejected_no_tokens", 0) - counts.get("rejected_too_long", 0),
        DUPLICATES: counts.get("duplicates_exact", 0) + counts.get("duplicates_near", 0),
        CONTAMINATED: counts.get("contaminated", 0) + counts.get("reported_contaminated", 0),
    }
    for folder, number in expected.items():
        written = sum(lines for name, lines in side_files if name == folder)
        if written != number:
            raise RuntimeError(f"{folder}/ must hold {number} lines, {written} were written: {counts}")


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


def files_seen(directory: str) -> dict[str, str | None]:
    """File of an earlier build that a commit replaces or removes -> its version now; what is not there has no entry."""
    owned = read_owned(directory)
    ours = frozenset() if owned is None else owned.names
    names = [name for name in sorted(ours) if name.startswith(f"{TOKENIZER_FOLDER}/")]
    versions = {name: version_of(join(directory, name)) for name in (*names, MANIFEST_FILE)}
    return {name: version for name, version in versions.items() if version is not None}


def is_lost(directory: str, build_id: str, seen: Mapping[str, str | None]) -> bool:
    """Whether another build has finished `directory` since."""
    if not has_manifest(directory) or version_of(join(directory, MANIFEST_FILE)) == seen.get(MANIFEST_FILE):
        return False
    return read_manifest(directory).build_id != build_id


def _lost(directory: str) -> InputError:
    return InputError(
        f"an output takes one build at a time, another one has finished {directory} while this one ran; its dataset is"
        " whole and stays: use it, or run again with another --output or with --overwrite"
    )


def write_commit(
    directory: str, manifest: Manifest, tokenizer_files: Mapping[str, bytes], seen: Mapping[str, str | None]
) -> None:
    """Writes the tokenizer beside the shards, then the manifest, which makes a dataset of them.

    Each file is written only if it is still as it was `seen`, so if several builds write one output, exactly one wins. Raises
    InputError in the others.
    """
    if is_lost(directory, manifest.build_id, seen):
        raise _lost(directory)
    gone = {shard.name for split in manifest.splits.values() for shard in split.shards} - set(list_names(directory))
    if gone:
        raise InputError(
            f"every shard must be there when a build ends, {min(gone)} was removed from {directory} while it ran; let one"
            " build at a time write there, and run it again"
        )
    contents = {join(TOKENIZER_FOLDER, name): content for name, content in tokenizer_files.items()}
    for name in sorted(set(seen) - set(contents) - {MANIFEST_FILE}):
        remove(join(directory, name))
    try:
        for name, content in {**contents, MANIFEST_FILE: manifest_to_json(manifest).encode()}.items():
            write_if_unchanged(join(directory, name), content, seen.get(name))
    except ChangedMeanwhileError as error:
        if is_lost(directory, manifest.build_id, seen):
            raise _lost(directory) from error
        if not has_manifest(directory) or read_manifest(directory).build_id != manifest.build_id:
            raise InputError(
                f"an output takes one build at a time, another one has written {error} while this one ran; run again when"
                " it has ended, or with another --output"
            ) from error
        # The same build, run twice: it has been finished already.


class CommitDataset(beam.DoFn):
    """The last step of a build."""

    def __init__(
        self, directory: str, tokenizer_directory: str, build: BuildInfo, seen: Mapping[str, str | None]
    ) -> None:
        self._directory = directory
        self._tokenizer_directory = tokenizer_directory
        # It names every input.
        self._build = pack(build)
        self._seen = dict(seen)

    def process(
        self,
        _: None,
        counts: Mapping[str, int],
        groups: Sequence[GroupRows],
        plans: Mapping[str, ShardPlan],
        shards: Sequence[tuple[str, int, ShardInfo]],
        side_files: Sequence[tuple[str, int]],
    ) -> Iterable[str]:
        check_side_files(counts, side_files)
        build: BuildInfo = unpack(self._build)
        if build.num_skipped:
            counts = {**counts, "files_skipped": build.num_skipped}
        manifest = assemble_manifest(build, counts, groups, plans, shards)
        tokenizer = load_tokenizer(self._tokenizer_directory)
        check_unchanged(build.states)
        if tokenizer.sha256() != build.tokenizer.sha256:
            raise InputError(
                f"a tokenizer must stay as it is while a dataset is built with it, {self._tokenizer_directory} has changed"
                " since the run began; nothing was committed, run it again"
            )
        tokenizer_files = tokenizer_contents(tokenizer)
        write_commit(self._directory, manifest, tokenizer_files, self._seen)
        yield manifest.dataset_sha256
