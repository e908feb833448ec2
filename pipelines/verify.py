"""Verifying: whether every shard of a dataset holds what the manifest says, and every record what a row must."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

import numpy as np
from typing_extensions import Buffer

from clozekit.pipelines.dataset.list_columns import list_parts
from clozekit.pipelines.dataset.manifest import MANIFEST_FILE, Manifest, ShardInfo, read_manifest
from clozekit.pipelines.dataset.manifest_schema import check_described, longest_record
from clozekit.pipelines.dataset.records import DOCUMENT_LENGTHS, TOKEN_IDS
from clozekit.pipelines.dataset.row_rules import BLOCK_ROWS, parse_records, row_problems
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER
from clozekit.pipelines.rows.accounts import check_account, length_histogram
from clozekit.pipelines.storage.files import join
from clozekit.pipelines.text_files.open_input import open_plain
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.storage.file_systems import open_file_system

_PART_BYTES = 1 << 22


@dataclass(frozen=True)
class Problem:
    """One thing of a dataset that is not as it must be.

    Args:
        source: the file, or the split.
        what: what is wrong with it.

    Example:

        >>> from clozekit.pipelines.verify import Problem
        >>> print(Problem("train-00000-of-00001-3049eace.tfrecord", "missing"))
        train-00000-of-00001-3049eace.tfrecord: missing
    """

    source: str
    what: str

    def __str__(self) -> str:
        return f"{self.source}: {self.what}"


@dataclass(frozen=True)
class Verified:
    """What `verify_dataset` checked, and what was wrong.

    Args:
        num_shards, num_rows, num_tokens: as the manifest counts them.
        problems: empty for a dataset that is as it must be.

    Example:

        >>> from clozekit.pipelines.verify import Verified, verify_dataset
        >>> verify_dataset("tiny/dataset") == Verified(num_shards=2, num_rows=36, num_tokens=396, problems=())
        True
    """

    num_shards: int
    num_rows: int
    num_tokens: int
    problems: tuple[Problem, ...]


def verify_dataset(directory: str) -> Verified:
    """Reads every byte of a dataset and says what is not as the manifest and the format have it.

    Args:
        directory: a local path or any fsspec URL.

    Returns:
        What was checked, with a `Problem` for each thing that is wrong.

    Raises:
        InputError: when it holds no manifest, or a damaged one (its dataset_sha256 is checked with it).

    Example:

        >>> from clozekit.pipelines.verify import verify_dataset
        >>> verify_dataset("tiny/dataset")
        Verified(num_shards=2, num_rows=36, num_tokens=396, problems=())
    """
    manifest = read_manifest(directory)
    problems = [*tokenizer_problems(directory, manifest), *_count_problems(manifest)]
    for name, split in manifest.splits.items():
        histogram = np.zeros(len(split.length_histogram), np.int64)
        next_row, has_whole_shards = 0, True
        for shard in split.shards:
            if shard.first_row != next_row:
                problems.append(
                    Problem(shard.name, f"its first row must be {next_row}, the manifest says {shard.first_row}")
                )
            next_row = shard.first_row + shard.rows
            found = list(shard_problems(directory, manifest, shard, histogram))
            has_whole_shards = has_whole_shards and not found
            problems += found
        if has_whole_shards and tuple(histogram.tolist()) != split.length_histogram:
            problems.append(Problem(name, "the lengths of its documents are not those of the manifest's histogram"))
    infos = [shard for split in manifest.splits.values() for shard in split.shards]
    return Verified(len(infos), sum(s.rows for s in infos), sum(s.tokens for s in infos), tuple(problems))


def _count_problems(manifest: Manifest) -> Iterator[Problem]:
    """What does not add up in the account of the documents."""
    try:
        check_account(manifest.counts)
    except RuntimeError as error:
        yield Problem(MANIFEST_FILE, str(error))
    for name, split in manifest.splits.items():
        said = manifest.counts.get(f"pieces_{name}")
        if said != split.pieces:
            yield Problem(
                MANIFEST_FILE, f"its counts must have the {split.pieces:,} pieces of {name}, they have {said}"
            )


def tokenizer_problems(directory: str, manifest: Manifest) -> Iterator[Problem]:
    try:
        tokenizer = load_tokenizer(join(directory, TOKENIZER_FOLDER))
    except InputError as error:
        yield Problem(TOKENIZER_FOLDER, str(error))
        return
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        found = tokenizer.sha256()
        yield Problem(
            TOKENIZER_FOLDER,
            f"its sha256 must be {manifest.tokenizer.sha256[:12]}, which made the ids; it is {found[:12]}",
        )
        return
    try:
        check_described(manifest, tokenizer, directory)
    except InputError as error:
        yield Problem(MANIFEST_FILE, str(error))


def shard_problems(directory: str, manifest: Manifest, shard: ShardInfo, histogram: np.ndarray) -> Iterator[Problem]:
    """What is wrong with one shard; adds the lengths of its documents to `histogram`."""
    path = join(directory, shard.name)
    filesystem, name = open_file_system(path)
    if not filesystem.isfile(name):
        # A folder, a device or a pipe is no shard, and some of them never end.
        yield Problem(shard.name, "it is no file" if filesystem.exists(name) else "it is missing")
        return
    size = filesystem.size(name)
    if size > shard.num_bytes:
        # What comes behind is not ours, and may be without end.
        yield Problem(shard.name, f"it must hold {shard.num_bytes:,} bytes, it holds {size:,}")
        return
    with open_plain(path) as stream:
        hashing = _Hashing(stream)
        reading = io.BufferedReader(hashing, _PART_BYTES)
        in_records = list(_record_problems(reading, manifest, shard, histogram))
        # Where a record is damaged, what follows it is hashed yet.
        while reading.read(_PART_BYTES):
            pass
    digest = hashing.sha256.hexdigest()
    if digest != shard.sha256:
        yield Problem(shard.name, f"its sha256 must be {shard.sha256[:12]}, it is {digest[:12]}")
    if size != shard.num_bytes:
        yield Problem(shard.name, f"it must hold {shard.num_bytes:,} bytes, it holds {size:,}")
    yield from in_records


class _Hashing(io.RawIOBase):
    """A stream that hashes what is read of it: a shard in a store is fetched once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        part = self._stream.read(len(view))
        view[: len(part)] = part
        self.sha256.update(part)
        return len(part)


def _record_problems(
    stream: IO[bytes], manifest: Manifest, shard: ShardInfo, histogram: np.ndarray
) -> Iterator[Problem]:
    rows = tokens = pieces = 0
    try:
        records = read_records(stream, shard.name, longest_record(manifest.sequence_length))
        while some := list(islice(records, BLOCK_ROWS)):
            batch = parse_records(some, rows)
            for problem in row_problems(batch, shard.first_row + rows, manifest):
                yield Problem(shard.name, problem)
            lengths = list_parts(batch.column(DOCUMENT_LENGTHS))[0]
            inside = lengths[(lengths >= 1) & (lengths <= manifest.sequence_length)]
            histogram += length_histogram(inside, manifest.sequence_length)
            rows += batch.num_rows
            tokens += len(list_parts(batch.column(TOKEN_IDS))[0])
            pieces += len(lengths)
    except InputError as error:
        yield Problem(shard.name, str(error))
        return
    for what, found, said in (
        ("rows", rows, shard.rows),
        ("tokens", tokens, shard.tokens),
        ("documents", pieces, shard.pieces),
    ):
        if found != said:
            yield Problem(shard.name, f"it must hold {said:,} {what}, it holds {found:,}")
