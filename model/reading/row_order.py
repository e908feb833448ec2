"""The order of rows: shards by a keyed permutation, several read in turn, rows shuffled inside blocks of fixed size.

It is a pure function of (seed, epoch) and of what the manifest says, so one integer, the number of rows read so far over
all epochs, tells where a run stands.
"""

from collections.abc import Sequence

import tensorflow as tf

from clozekit.model.common.hashing import random_order

# Which decision an order serves besides the blocks, which are numbered from 0.
SHARDS, BATCHES = -1, -2


def shard_order(num_shards: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    return random_order(num_shards, seed, epoch, tf.constant(SHARDS, tf.int64))


def interleave_position(num_rows: Sequence[int], open_shards: int, rows_read: int) -> list[tuple[int, int]]:
    """What is left to read of shards of `num_rows` rows each after `rows_read` rows: (shard, rows of it that are done).

    `Dataset.interleave` (cycle_length=open_shards, block_length=1) over the result gives exactly the rows that would
    have come. A shard that ends gives up its turn, and the next one takes its place a round later.
    """
    slots: list[list[int] | None] = [None] * open_shards
    place = following = 0
    left = rows_read
    while left:
        reading = [slot for slot in slots if slot is not None]
        if reading and (len(reading) == open_shards or following == len(num_rows)):
            # Whole rounds at once: the work is in the number of shards, not of rows.
            rounds = min(left // len(reading), min(num_rows[shard] - done for shard, done in reading))
            for slot in reading:
                slot[1] += rounds
            left -= rounds * len(reading)
            if rounds:
                continue
        slot_here = slots[place]
        if slot_here is None and following < len(num_rows):
            slots[place] = [following, 0]
            following += 1
            continue
        if slot_here is not None and slot_here[1] < num_rows[slot_here[0]]:
            slot_here[1] += 1
            left -= 1
        else:
            slots[place] = None
        place = (place + 1) % open_shards
    rest: list[tuple[int, int]] = []
    for slot_here in (*slots[place:], *slots[:place]):
        if slot_here is not None:
            rest.append((slot_here[0], slot_here[1]))
        elif following < len(num_rows):
            rest.append((following, 0))
            following += 1
    return rest + [(shard, 0) for shard in range(following, len(num_rows))]


def block_order(
    num_rows: tf.Tensor,
    seed: int,
    epoch: tf.Tensor,
    block: tf.Tensor,
    bins: tf.Tensor | None,
    head: tf.Tensor,
    batch: int,
) -> tf.Tensor:
    """The order of a block's rows, int32 (num_rows,).

    bins: int32 (num_rows,), the length bin of each row, or None. With bins, runs of `batch` rows from row `head` on (the
    place where a batch begins) are of neighbouring lengths, and the runs come in random order; what fills no whole run,
    the longest rows, stands before and behind them.
    """
    order = random_order(num_rows, seed, epoch, block)
    if bins is None:
        return order
    by_length = tf.gather(order, tf.argsort(tf.gather(bins, order), stable=True))
    num_batches = tf.maximum(num_rows - head, 0) // batch
    runs = tf.reshape(by_length[: num_batches * batch], [num_batches, batch])
    part = tf.constant(BATCHES, tf.int64) - tf.cast(block, tf.int64)
    runs = tf.gather(runs, random_order(num_batches, seed, epoch, part))
    rest = by_length[num_batches * batch :]
    head = tf.minimum(head, tf.size(rest))
    return tf.concat([rest[:head], tf.reshape(runs, [-1]), rest[head:]], axis=0)
