"""The reader: a dataset's rows in an order that only (seed, epoch) decides, as batches ready for the model."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from clozekit.model.common.prefetch import prefetch, without_autotuning
from clozekit.model.common.without_autograph import without_autograph
from clozekit.model.masking.mask_rates import MaskRates
from clozekit.model.masking.mask_rows import mask_rows
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.model.reading.row_order import block_order, interleave_position, shard_order
from clozekit.model.reading.row_records import RecordFormat, parse_rows, record_format, row_lengths
from clozekit.model.reading.shard_files import (
    BLANK_RECORD,
    WRONG_ROW,
    check_shards,
    damage_named,
    shard_paths,
    shard_problems,
    shard_records,
)
from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo
from clozekit.tokenizers.common.errors import InputError

__all__ = [
    "RowSource",
    "check_shards",
    "damage_named",
    "masked_batch",
    "mixed_batches",
    "shard_problems",
    "shuffled_blocks",
    "training_batches",
    "validation_batches",
]

DEFAULTS = ReaderSettings()
# Batches are masked together up to so many tokens: 65,536 at once took a tenth to a third more CPU time a token.
TOKENS_A_CALL = 2**18


def shuffled_blocks(
    directory: str,
    split: SplitInfo,
    seed: int,
    start_row: int = 0,
    options: ReaderSettings = DEFAULTS,
    bins: tuple[int, ...] = (),
    batch_size: int = 1,
    row_bases: tuple[int, ...] | None = None,
) -> tf.data.Dataset:
    """Endless (records, epochs) of blocks of rows, from row number `start_row` over all epochs on: row number n is row
    n % rows of epoch n // rows.

    bins: where given, rows are put together so that batches of `batch_size` rows from `start_row` on are of neighbouring
    lengths. row_bases: where given, of each shard what its row ids are counted from, which comes third. Going on reads whole
    shards by their names only, jumps inside the open ones, and drops at most a block.
    """
    paths, remote = shard_paths(directory, split), "://" in directory
    rows_of_shard = [shard.rows for shard in split.shards]
    block_size = options.shuffle_block_rows
    first_epoch, first_row = divmod(start_row, split.rows)
    first_block = first_row // block_size

    def records_of(shards: tf.Tensor, done: tf.Tensor) -> tf.data.Dataset:
        bases = tf.constant(row_bases or [0] * len(paths), tf.int64)
        parts = tf.data.Dataset.from_tensor_slices(
            (
                tf.gather(tf.constant(paths), shards),
                tf.gather(tf.constant(rows_of_shard, tf.int64), shards),
                done,
                tf.gather(bases, shards),
            )
        )

        @without_autograph
        def records(path: tf.Tensor, rows: tf.Tensor, rows_done: tf.Tensor, base: tf.Tensor) -> tf.data.Dataset:
            found = shard_records(path, rows, rows_done, options.on_damage, remote)
            return found if row_bases is None else found.map(without_autograph(lambda record: (record, base)))

        return parts.interleave(records, cycle_length=options.open_shards, block_length=1, num_parallel_calls=None)

    def shuffled(records: tf.data.Dataset, epoch: tf.Tensor, block_from: int) -> tf.data.Dataset:
        @without_autograph
        def shuffle_block(block: tf.Tensor, found: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            rows, *bases = (found,) if row_bases is None else found
            block += block_from
            begin = epoch * split.rows + block * block_size
            in_bins = tf.searchsorted(tf.constant(bins), row_lengths(rows)) if bins else None
            head = tf.cast((start_row - begin) % batch_size, tf.int32)
            order = block_order(tf.size(rows), seed, epoch, block, in_bins, head, batch_size)
            order = order[tf.cast(tf.maximum(start_row - begin, 0), tf.int32) :]
            rows = tf.gather(rows, order)
            return rows, tf.fill(tf.shape(rows), epoch), *(tf.gather(base, order) for base in bases)

        return records.batch(block_size).enumerate().map(shuffle_block)

    @without_autograph
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = shard_order(len(paths), seed, epoch)
        return shuffled(records_of(order, tf.zeros_like(order, tf.int64)), epoch, 0)

    order = shard_order(len(paths), seed, tf.constant(first_epoch, tf.int64)).numpy()
    left = interleave_position([rows_of_shard[i] for i in order], options.open_shards, first_block * block_size)
    begun = records_of(tf.constant([order[i] for i, _ in left]), tf.constant([done for _, done in left], tf.int64))
    rest = tf.data.Dataset.range(first_epoch + 1, tf.int64.max).flat_map(one_epoch)
    return shuffled(begun, tf.constant(first_epoch, tf.int64), first_block).concatenate(rest)


def training_batches(
    directory: str,
    manifest: Manifest,
    masking: MaskingRule,
    batch_size: int,
    seed: int,
    start_row: int = 0,
    worker_index: int = 0,
    num_workers: int = 1,
    options: ReaderSettings = DEFAULTS,
    rates: MaskRates | None = None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless masked batches of the train split, in an order that only seed and epoch decide.

    Worker w of W takes the w-th of W equal slices of each global batch, so that together they see the same global batches
    whatever W; the other rows are passed over before they are parsed.

    Args:
        directory, manifest: the dataset and where it is, a path or a URL.
        masking: rates, strategy, seed and what the vocabulary says.
        batch_size: rows of the global batch.
        seed: of the order.
        start_row: the number of the first row, counted over all epochs.
        worker_index, num_workers: w and W.
        options: how rows are read and shuffled.
        rates: the rate of masks by the number of the step, at most that of `masking`; None: that of `masking` throughout.
        first_step: the number of the first batch's step.

    Returns:
        Dicts of tensors of static shape: token_ids, document_ids, positions, padding_mask int32 (B, T), mask_positions,
        mask_ids int32 (B, M), mask_weights float32 (B, M), mask_overflow int32 (B,): masks that found no slot. With length
        bins also length_bin (B,): the number of the bin, one for the whole global batch, that all of its rows fit into.

    Raises:
        InputError: for a global batch that the workers can't share equally.

    Example:

        >>> from clozekit.model.masking.masking_rule import MaskingRule
        >>> from clozekit.model.reading.dataset_reader import training_batches
        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> masking = MaskingRule(mask_token_id=4, vocabulary_size=16, special_token_ids=(0, 1, 2, 3, 4))
        >>> batches = training_batches("tiny/dataset", read_manifest("tiny/dataset"), masking, batch_size=4, seed=0)
        >>> {name: (tensor.dtype.name, tuple(tensor.shape)) for name, tensor in next(iter(batches)).items()}
        {'token_ids': ('int32', (4, 16)), 'document_ids': ('int32', (4, 16)), 'positions': ('int32', (4, 16)), 'padding_mask': ('int32', (4, 16)), 'mask_positions': ('int32', (4, 3)), 'mask_ids': ('int32', (4, 3)), 'mask_weights': ('float32', (4, 3)), 'mask_overflow': ('int32', (4,))}
    """
    own = _own_share(batch_size, worker_index, num_workers)
    share = batch_size // num_workers
    split = manifest.splits["train"]
    form = dataset_format(directory, manifest)
    bins = options.bins_for(manifest.sequence_length)
    # A small dataset is not read many times over before the first batch is there.
    num_batches = max(1, min(TOKENS_A_CALL // (share * manifest.sequence_length), split.rows // batch_size))

    @without_autograph
    def own_batches(number: tf.Tensor, rows: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        records, epochs = (tf.reshape(part, [num_batches, batch_size]) for part in rows)
        steps = first_step + number * num_batches + tf.range(num_batches, dtype=tf.int64)
        rate = None if rates is None else tf.repeat(rates.at(steps), share)
        own_records, own_epochs = (tf.reshape(part[:, own], [num_batches * share]) for part in (records, epochs))
        batches = masked_batch(own_records, own_epochs, form, masking, rate=rate)
        if bins:
            batches["length_bin"] = _bins_of(records, bins, share)
        return {name: tf.reshape(part, [num_batches, share, *part.shape[1:]]) for name, part in batches.items()}

    blocks = shuffled_blocks(directory, split, seed, start_row, options, bins, batch_size)
    groups = blocks.rebatch(num_batches * batch_size, drop_remainder=True).enumerate()
    return _unsharded(prefetch(groups.map(own_batches, num_parallel_calls=tf.data.AUTOTUNE).unbatch()))


class RowSource(NamedTuple):
    """A part of each global batch, from a part of a stream.

    manifest: a view whose train split it is. rows: of each batch. seed: of the order. start_row: the number of the first row,
    counted over all its epochs. first_epoch: where its epochs are counted from, which masks go by. row_bases: of each shard the
    number of its first row in the stream.
    """

    manifest: Manifest
    rows: int
    seed: int
    start_row: int
    first_epoch: int
    row_bases: tuple[int, ...]


def mixed_batches(
    directory: str,
    sources: Sequence[RowSource],
    masking: MaskingRule,
    worker_index: int = 0,
    num_workers: int = 1,
    options: ReaderSettings = DEFAULTS,
) -> tf.data.Dataset:
    """Endless masked batches, each of so many rows of each source, one after the other; all else as `training_batches`.

    Raises InputError for a global batch that the workers can't share equally.
    """
    batch_size = sum(source.rows for source in sources)
    manifest = sources[0].manifest
    form, bins = dataset_format(directory, manifest), options.bins_for(manifest.sequence_length)
    own = _own_share(batch_size, worker_index, num_workers)

    def rows_of(source: RowSource) -> tf.data.Dataset:
        split = source.manifest.splits["train"]
        blocks = shuffled_blocks(
            directory, split, source.seed, source.start_row, options, bins, source.rows, source.row_bases
        )
        first_epoch = tf.constant(source.first_epoch, tf.int64)
        numbered = blocks.map(without_autograph(lambda records, epochs, bases: (records, epochs + first_epoch, bases)))
        return numbered.rebatch(source.rows, drop_remainder=True)

    @without_autograph
    def own_batch(*parts: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        records, epochs, bases = (tf.concat(columns, axis=0) for columns in zip(*parts, strict=True))
        batch = masked_batch(records[own], epochs[own], form, masking, bases[own])
        if bins:
            batch["length_bin"] = _bins_of(records[None, :], bins, batch_size // num_workers)
        return batch

    batches = tf.data.Dataset.zip(tuple(rows_of(source) for source in sources if source.rows))
    return _unsharded(prefetch(batches.map(own_batch, num_parallel_calls=tf.data.AUTOTUNE)))


def _own_share(batch_size: int, worker_index: int, num_workers: int) -> slice:
    """Which rows of a global batch are a worker's."""
    if batch_size % num_workers or not 0 <= worker_index < num_workers:
        raise InputError(
            f"the global batch must be a multiple of the workers, got {batch_size} rows for {num_workers} workers;"
            " change train.global_batch_size"
        )
    share = batch_size // num_workers
    return slice(worker_index * share, (worker_index + 1) * share)


def _bins_of(records: tf.Tensor, bins: tuple[int, ...], share: int) -> tf.Tensor:
    """The number of the bin that all `records` of a global batch fit into, for each row of a worker's share of it; records
    (N, B) of N batches gives (N * share,)."""
    longest = tf.reduce_max(tf.reshape(row_lengths(tf.reshape(records, [-1])), tf.shape(records)), axis=1)
    return tf.repeat(tf.searchsorted(tf.constant(bins), longest), share)


def validation_batches(
    directory: str,
    manifest: Manifest,
    masking: MaskingRule,
    batch_size: int,
    max_rows: int | None = None,
    worker_index: int = 0,
    num_workers: int = 1,
    options: ReaderSettings = DEFAULTS,
) -> tf.data.Dataset:
    """Masked batches of the validation split in file order, the masks the same in every run.

    The last batch is filled up with rows of weight 0, so that all shapes are static. Workers share each global batch as in
    training.

    Args:
        directory, manifest: the dataset and where it is, a path or a URL.
        masking: as `MaskingRule.for_validation` gives it.
        batch_size: rows of the global batch.
        max_rows: the most rows; None: all.
        worker_index, num_workers: whose share of each batch.
        options: of the reader, where only what is done with damaged rows matters.

    Returns:
        Dicts of tensors as `training_batches` gives them: int32 (B, T) and (B, M), mask_weights float32.

    Example:

        >>> from clozekit.model.masking.masking_rule import MaskingRule
        >>> from clozekit.model.reading.dataset_reader import validation_batches
        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> masking = MaskingRule(mask_token_id=4, vocabulary_size=16, special_token_ids=(0, 1, 2, 3, 4)).for_validation(0.15)
        >>> batches = validation_batches("tiny/dataset", read_manifest("tiny/dataset"), masking, batch_size=6)
        >>> [int(batch["padding_mask"][:, 0].numpy().sum()) for batch in batches]  # 8 rows
        [6, 2]
    """
    split = manifest.splits["validation"]
    form, remote = dataset_format(directory, manifest), "://" in directory
    share = batch_size // num_workers
    counts = tf.constant([shard.rows for shard in split.shards], tf.int64)
    none_done = tf.constant(0, tf.int64)
    records = tf.data.Dataset.from_tensor_slices((shard_paths(directory, split), counts)).flat_map(
        without_autograph(lambda path, rows: shard_records(path, rows, none_done, options.on_damage, remote))
    )
    if max_rows is not None:
        records = records.take(max_rows)

    @without_autograph
    def own_batch(records: tf.Tensor) -> dict[str, tf.Tensor]:
        filled = tf.pad(records, [[0, batch_size - tf.size(records)]], constant_values=BLANK_RECORD)
        own = tf.ensure_shape(filled, [batch_size])[worker_index * share : (worker_index + 1) * share]
        return masked_batch(own, tf.constant(0, tf.int64), form, masking)

    return _unsharded(without_autotuning(records.batch(batch_size).map(own_batch)))


def dataset_format(directory: str, manifest: Manifest) -> RecordFormat:
    """How the records of a dataset are read, by the first one that can be."""
    pad_token_id = manifest.tokenizer.special_token_ids["pad_token"]
    for split in manifest.splits.values():
        first_records = tf.data.TFRecordDataset([p for p in shard_paths(directory, split) if tf.io.gfile.exists(p)])
        for record in first_records.ignore_errors().take(1):
            form = record_format(record.numpy(), manifest.sequence_length, pad_token_id)
            if form.has_segments != manifest.has_pairs:
                raise InputError(
                    f"rows have segments where they are sentence pairs, the manifest of {directory} says"
                    f" {'pairs' if manifest.has_pairs else 'no pairs'} and the rows are otherwise; prepare it again"
                )
            return form
    return RecordFormat(manifest.sequence_length, pad_token_id)


def masked_batch(
    records: tf.Tensor,
    epoch: tf.Tensor,
    form: RecordFormat,
    masking: MaskingRule,
    row_bases: tf.Tensor | None = None,
    rate: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Serialized rows (B,) of `epoch` (scalar or (B,)), parsed, derived and masked; row_bases, int64 (B,): what their ids
    are counted from; rate: as of `mask_rows`."""
    rows = parse_rows(records, form)
    ids = rows["token_ids"]
    # `parse_rows` lets no negative id through.
    known = tf.reduce_max(ids) < masking.vocabulary_size
    with tf.control_dependencies([tf.debugging.Assert(known, [WRONG_ROW])]):
        rows["token_ids"] = tf.identity(ids)
    row_ids = rows.pop("row_id")
    if row_bases is not None:
        row_ids += row_bases
    return {**rows, **mask_rows(rows["token_ids"], row_ids, epoch, masking, rows["document_ids"], rate)}


def _unsharded(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Workers already have their own rows: tf.distribute must not cut the dataset again."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
