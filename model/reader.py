"""The reader: a dataset's rows in an order that only (seed, epoch) decides, as batches ready for the model."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from clozekit.model.masking import MaskingOptions, mask_rows
from clozekit.pipelines.manifest import Manifest, SplitInfo
from clozekit.pipelines.records import DOCUMENT_LENGTHS, ROW_ID, TOKEN_IDS
from clozekit.tokenizers.errors import InputError

# Shards read side by side, and rows shuffled together; part of the order, so fixed.
OPEN_SHARDS = 8
SHUFFLE_BLOCK_ROWS = 4096


def parse_rows(records: tf.Tensor, sequence_length: int, pad_token_id: int) -> dict[str, tf.Tensor]:
    """Rows of serialized records (B,): token_ids and what the graph derives from the document lengths, (B, T) each.

    document_ids: 1.. per packed document, 0 = padding; positions: restart at each document; padding_mask: 1 = real.
    """
    features = {name: tf.io.RaggedFeature(tf.int64) for name in (TOKEN_IDS, DOCUMENT_LENGTHS)}
    parsed = tf.io.parse_example(records, {**features, ROW_ID: tf.io.FixedLenFeature([], tf.int64)})
    token_ids = tf.cast(parsed[TOKEN_IDS].to_tensor(pad_token_id, shape=[None, sequence_length]), tf.int32)
    return {"token_ids": token_ids, "row_id": parsed[ROW_ID], **derive(parsed[DOCUMENT_LENGTHS], sequence_length)}


def derive(document_lengths: tf.RaggedTensor, sequence_length: int) -> dict[str, tf.Tensor]:
    """document_ids, positions and padding_mask, each int32 (B, T), from the lengths of the packed documents."""
    lengths = tf.cast(document_lengths.to_tensor(), tf.int32)
    ends = tf.cumsum(lengths, axis=1)
    places = tf.broadcast_to(tf.range(sequence_length)[None, :], [tf.shape(ends)[0], sequence_length])
    index = tf.searchsorted(ends, places, side="right")
    used = tf.reduce_sum(lengths, axis=1, keepdims=True)
    real = places < used
    starts = tf.pad(ends, [[0, 0], [1, 0]])
    positions = places - tf.gather(starts, tf.minimum(index, tf.shape(ends)[1]), batch_dims=1)
    return {
        "document_ids": tf.where(real, index + 1, 0),
        "positions": tf.where(real, positions, 0),
        "padding_mask": tf.cast(real, tf.int32),
    }


def shuffled_rows(directory: str, split: SplitInfo, seed: int, start_row: int = 0) -> tf.data.Dataset:
    """Endless (record, epoch) pairs from row number `start_row` over all epochs on.

    The order is a function of (seed, epoch) alone: shards in a random order, OPEN_SHARDS of them read in turn, rows
    shuffled inside blocks of SHUFFLE_BLOCK_ROWS. Row number n is row n % rows of epoch n // rows.
    """
    paths = tf.constant(shard_paths(directory, split))
    first_epoch, first_row = divmod(start_row, split.rows)

    def random_order(size: tf.Tensor, epoch: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
        # int64 wraps on overflow; philox by name, since "auto" may differ from one kind of device to another.
        key = tf.stack([tf.constant(seed, tf.int64) * 1_000_003 + epoch, block])
        return tf.argsort(tf.random.stateless_uniform(size[None], key, alg="philox"), stable=True)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = random_order(tf.size(paths), epoch, tf.constant(-1, tf.int64))
        rows = tf.data.Dataset.from_tensor_slices(tf.gather(paths, order)).interleave(
            tf.data.TFRecordDataset, cycle_length=OPEN_SHARDS, block_length=1
        )
        skip = tf.where(tf.equal(epoch, first_epoch), tf.constant(first_row, tf.int64), 0)
        blocks = rows.batch(SHUFFLE_BLOCK_ROWS).enumerate().skip(skip // SHUFFLE_BLOCK_ROWS)
        shuffled = blocks.map(lambda block, records: tf.gather(records, random_order(tf.size(records), epoch, block)))
        records = shuffled.unbatch().skip(skip % SHUFFLE_BLOCK_ROWS)
        return records.map(lambda record: (record, epoch))

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)


def shard_paths(directory: str, split: SplitInfo) -> list[str]:
    return [f"{directory.rstrip('/')}/{shard.name}" for shard in split.shards]


def training_batches(
    directory: str,
    manifest: Manifest,
    masking: MaskingOptions,
    batch_size: int,
    seed: int,
    start_row: int = 0,
    worker_index: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """Endless masked batches of the train split, from row number `start_row` over all epochs on: of each global batch of
    `batch_size` rows the part of worker `worker_index`.

    Each batch: token_ids, document_ids, positions, padding_mask (B, T), mask_positions, mask_ids, mask_weights (B, M),
    all of static shape.
    """
    rows = shuffled_rows(directory, manifest.splits["train"], seed, start_row)
    share = batch_size // num_workers
    mine = slice(worker_index * share, (worker_index + 1) * share)
    return (
        rows.batch(batch_size, drop_remainder=True)
        .map(
            lambda records, epoch: masked_batch(records[mine], epoch[mine], manifest, masking),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(tf.data.AUTOTUNE)
        # Else tf.distribute takes it for one that may end, and asks all workers before every step.
        .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    )


def validation_batches(
    directory: str, manifest: Manifest, masking: MaskingOptions, batch_size: int, max_rows: int | None = None
) -> tf.data.Dataset:
    """Masked batches of the validation split in file order, the masks the same in every run; the last batch is filled
    up with rows of weight 0, so that all shapes are static."""
    records = tf.data.TFRecordDataset(shard_paths(directory, manifest.splits["validation"]))
    if max_rows is not None:
        records = records.take(max_rows)

    def fill(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        missing = batch_size - tf.shape(batch["token_ids"])[0]
        padded = {
            name: tf.pad(value, [[0, missing]] + [[0, 0]] * (value.shape.rank - 1)) for name, value in batch.items()
        }
        return {name: tf.ensure_shape(value, [batch_size, *value.shape[1:]]) for name, value in padded.items()}

    epoch = tf.constant(0, tf.int64)
    return records.batch(batch_size).map(lambda batch: fill(masked_batch(batch, epoch, manifest, masking)))


def masked_batch(
    records: tf.Tensor, epoch: tf.Tensor, manifest: Manifest, masking: MaskingOptions
) -> dict[str, tf.Tensor]:
    """Serialized rows (B,) of `epoch` (scalar or (B,)), parsed, derived and masked."""
    rows = parse_rows(records, manifest.sequence_length, manifest.tokenizer.special_token_ids["pad_token"])
    row_ids = rows.pop("row_id")
    return {**rows, **mask_rows(rows["token_ids"], row_ids, epoch, masking)}


def check_shards(directory: str, manifest: Manifest, read_all: bool = False) -> None:
    """Raises InputError naming the shard that is missing, has another size or, with `read_all`, other bytes."""
    for split in manifest.splits.values():
        for shard, path in zip(split.shards, shard_paths(directory, split), strict=True):
            if not tf.io.gfile.exists(path):
                raise InputError(
                    f"every shard of the manifest must be there, {path} is missing; copy the dataset again"
                )
            size = tf.io.gfile.stat(path).length
            if size != shard.num_bytes:
                raise _damaged(path, f"{shard.num_bytes} bytes", f"{size}")
            if read_all:
                with tf.io.gfile.GFile(path, "rb") as stream:
                    digest = hashlib.sha256(stream.read()).hexdigest()
                if digest != shard.sha256:
                    raise _damaged(path, f"sha256 {shard.sha256[:12]}", digest[:12])


@contextmanager
def damage_named(directory: str, manifest: Manifest) -> Iterator[None]:
    """Turns TensorFlow's error about a shard, which does not say which, into an InputError that does."""
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError):
        check_shards(directory, manifest, read_all=True)
        raise


def _damaged(path: str, expected: str, found: str) -> InputError:
    return InputError(
        f"a shard must be what the manifest says ({expected}), {path} is damaged (found {found});"
        " copy it again or run `clozekit prepare --overwrite`"
    )
