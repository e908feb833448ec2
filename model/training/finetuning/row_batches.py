"""The batches of a fine-tuning: rows in an order that (seed, row) alone decide, cut to few lengths."""

import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import tensorflow as tf

from clozekit.model.preprocessing.encoded_rows import batch_lengths
from clozekit.model.training.finetuning.examples.row_set import RowSet

# To see which lengths a run needs; a batch beyond them that needs another one takes the next longer.
_MOST_BATCHES_LOOKED_AT = 1000


def training_rows(num_rows: int, seed: int, first: int, batch_size: int) -> np.ndarray:
    """The row numbers of a batch whose first row is number `first` of all epochs: they follow one another without a gap,
    each in its own order, so every batch is full and a run needs to know nothing but how many rows it has read to go on."""
    epochs = range(first // num_rows, (first + batch_size - 1) // num_rows + 1)
    rows = np.concatenate([_order(num_rows, seed, epoch) for epoch in epochs])
    begin = first - epochs[0] * num_rows
    return rows[begin : begin + batch_size]


def lengths_of_run(rows: RowSet, seed: int, batch_size: int, num_batches: int) -> tuple[int, ...]:
    """Those of `batch_lengths` that the batches of a run are computed in, the shortest first: those that its first ones
    need, and the one that holds every row."""
    lengths = batch_lengths(rows.sequence_length)
    needed = [
        rows.lengths[training_rows(len(rows), seed, number * batch_size, batch_size)].max()
        for number in range(min(num_batches, _MOST_BATCHES_LOOKED_AT))
    ]
    return tuple(lengths[place] for place in np.unique(np.searchsorted(lengths, [*needed, rows.lengths.max()])))


def training_batches(
    rows: RowSet,
    lengths: tuple[int, ...],
    seed: int,
    first: int,
    batch_size: int,
    worker_index: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """What one worker reads of the global batches from row number `first` on, without end: the model's inputs, int32
    (B, T), labels as of `RowSet.batch`, and length_bin, int32 (B,): the number of the shortest of `lengths` that holds the whole batch, the
    same for all workers; T is the longest of these."""
    share = batch_size // num_workers

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for start in itertools.count(first, batch_size):
            whole = training_rows(len(rows), seed, start, batch_size)
            number = np.searchsorted(lengths, rows.lengths[whole].max())
            mine = whole[worker_index * share : (worker_index + 1) * share]
            yield {**rows.batch(mine, lengths[-1]), "length_bin": np.full(share, number, np.int32)}

    example = rows.batch(np.zeros(share, np.int64), lengths[-1])
    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in example.items()}
    signature["length_bin"] = tf.TensorSpec([share], tf.int32)
    # Two ahead: made while the step before computes.
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


@lru_cache(maxsize=2)
def _order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_rows)
