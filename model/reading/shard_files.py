"""The shards of a dataset as files: are they what the manifest says, and reading their records, damaged ones too."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from clozekit.model.common.without_autograph import without_autograph
from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.progress_bar import progress_bar

# Read ahead from storage that answers late; local disks do without.
REMOTE_BUFFER_BYTES = 8 * 2**20
REMOTE_PREFETCH_RECORDS = 512
# Less is compared within a fraction of a second.
_BAR_FROM_BYTES = 500_000_000
# What an assertion about the rows of a dataset says.
WRONG_ROW = "rows must hold ids of the vocabulary and be no longer than the manifest says"
# A row that could not be read.
BLANK_RECORD = b""


def shard_paths(directory: str, split: SplitInfo) -> list[str]:
    return [f"{directory.rstrip('/')}/{shard.name}" for shard in split.shards]


def check_shards(directory: str, manifest: Manifest, read_all: bool = False, show_progress: bool = False) -> None:
    """Raises InputError naming the shard that is missing, has another size or, with `read_all`, other bytes."""
    for split in manifest.splits.values():
        for problem in shard_problems(directory, split, read_all, show_progress):
            raise InputError(problem)


def shard_problems(
    directory: str, split: SplitInfo, read_all: bool = False, show_progress: bool = False
) -> Iterator[str]:
    """A line for each shard that is not what the manifest says."""
    num_bytes = sum(shard.num_bytes for shard in split.shards)
    is_shown = read_all and show_progress and num_bytes >= _BAR_FROM_BYTES
    with progress_bar(total=num_bytes, unit="B", unit_scale=True, desc="checking shards", disable=not is_shown) as bar:
        for shard, path in zip(split.shards, shard_paths(directory, split), strict=True):
            if not tf.io.gfile.exists(path):
                yield f"every shard of the manifest must be there, {path} is missing; copy the dataset again"
                continue
            if "://" not in path and not os.path.isfile(path):
                # A pipe would be waited for, also where damage is left out.
                raise InputError(f"every shard must be a file, {path} is something else; copy the dataset again")
            size = tf.io.gfile.stat(path).length
            if size != shard.num_bytes:
                yield _damaged(path, f"{shard.num_bytes} bytes", f"{size}")
            elif read_all:
                digest = hashlib.sha256()
                with tf.io.gfile.GFile(path, "rb") as stream:
                    while piece := stream.read(REMOTE_BUFFER_BYTES):
                        digest.update(piece)
                        bar.update(len(piece))
                if digest.hexdigest() != shard.sha256:
                    yield _damaged(path, f"sha256 {shard.sha256[:12]}", digest.hexdigest()[:12])


def _damaged(path: str, expected: str, found: str) -> str:
    return (
        f"a shard must be what the manifest says ({expected}), {path} is damaged (found {found});"
        " copy it again, run `clozekit prepare --overwrite`, or set reader.on_damage=skip to train without it"
    )


@contextmanager
def damage_named(directory: str, manifest: Manifest) -> Iterator[None]:
    """Turns TensorFlow's error about a shard, which does not say which, into an InputError that does."""
    try:
        yield
    except (
        tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError, UnicodeDecodeError
    ) as error:  # fmt: skip
        check_shards(directory, manifest, read_all=True)
        # TensorFlow's message quotes a record that is no Example: its bytes are no text.
        is_quoted = isinstance(error, UnicodeDecodeError)
        message = error.object.decode(errors="replace") if is_quoted else str(error)
        # A record that is no Example, or one of other features.
        if any(part in message for part in (WRONG_ROW, "ParseExample", "parse example", "Key: ")):
            raise InputError(
                f"{WRONG_ROW}, {directory} has others; run `clozekit verify {directory}` to see which, and prepare it again"
            ) from error
        raise


def shard_records(
    path: tf.Tensor, num_rows: tf.Tensor, rows_done: tf.Tensor, on_damage: str, remote: bool
) -> tf.data.Dataset:
    """The records of a shard from number `rows_done` on: exactly num_rows - rows_done of them.

    on_damage "stop": a record that can't be read, or too few of them, is an error. "skip": whatever is missing comes as
    BLANK_RECORD, so that every other row keeps its number.
    """
    records = tf.data.TFRecordDataset(path, buffer_size=REMOTE_BUFFER_BYTES if remote else None)
    if on_damage == "stop":
        # TFRecordDataset jumps over records by their headers: 160,000 of them took 0.07 seconds.
        whole = records.skip(rows_done).concatenate(tf.data.Dataset.from_tensors(path).map(without_autograph(_too_few)))
        rest = whole.take(num_rows - rows_done)
    else:
        # A missing file would be tried again and again; a damaged one ends at the damage.
        present = tf.data.Dataset.from_tensor_slices(tf.io.matching_files(path))
        readable = present.flat_map(without_autograph(lambda _: records.ignore_errors()))
        blanks = tf.data.Dataset.from_tensors(tf.constant(BLANK_RECORD)).repeat()
        # Not skipped by headers: a damaged record must end the shard as it did the first time.
        rest = readable.concatenate(blanks).take(num_rows).skip(rows_done)
    return rest.prefetch(REMOTE_PREFETCH_RECORDS) if remote else rest


def _too_few(path: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies(
        [tf.debugging.Assert(False, ["a shard has fewer rows than the manifest says:", path])]
    ):
        return tf.constant(BLANK_RECORD)
