"""Whole words and spans of words: where they begin, and which of them a row's random numbers select."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clozekit.model.common.row_sums import number_ranges, padded, running_sum, splits_of, true_places

# Units that may fill the room that the last one left, and the rounds in which they do; real text is full after two.
FILL_UNITS = 64
MAX_PASSES = 5
# Nearly every row is full after so few units more. Others are looked at again, with all that may fill them.
_FIRST_UNITS = 3
# Below all that can be selected: what can't, and nothing at all.
_NEVER, _NONE = -2, -3


def _shares(weights: list[float]) -> tuple[float, ...]:
    return tuple(weight / sum(weights) for weight in weights)


# Probability of 1 word, 2 words, ...: SpanBERT's geometric one with p = 0.2, at most 10; ALBERT's 1/n, at most 3.
SPAN_LENGTHS = {
    "span": _shares([0.2 * 0.8**n for n in range(10)]),
    "ngram": _shares([1 / n for n in range(1, 4)]),
}


def unit_begins(starts: tf.Tensor, selectable: tf.Tensor, document_ids: tf.Tensor | None) -> tf.Tensor:
    """bool (B, T): where a word begins; what is not selectable is a word of its own, and so is what follows it."""
    follows_word = tf.pad(selectable[:, :-1], [[0, 0], [1, 0]])
    if document_ids is not None:
        same = tf.equal(document_ids[:, 1:], document_ids[:, :-1])
        follows_word = tf.logical_and(follows_word, tf.pad(same, [[0, 0], [1, 0]]))
    return tf.logical_or(starts, tf.logical_not(tf.logical_and(selectable, follows_word)))


def span_lengths(random_bits: tf.Tensor, rates: tuple[float, ...]) -> tf.Tensor:
    """Random numbers of words from 1 on, the shape of `random_bits` (31 bits); rates: the probability of each."""
    # Over the upper 16 bits: probabilities are right to 1/65536.
    bounds = np.searchsorted((np.arange(2**16) + 0.5) / 2**16, np.cumsum(rates)[:-1], side="left")
    upper = tf.bitwise.right_shift(random_bits, 15)
    # Faster than a table; in bytes, of which a core adds most at once.
    return 1 + tf.cast(sum(tf.cast(upper >= int(bound), tf.int8) for bound in bounds), tf.int32)


def join_words(
    begins: tf.Tensor, lengths: tf.Tensor, selectable: tf.Tensor, document_ids: tf.Tensor | None
) -> tf.Tensor:
    """bool (B, T): where a span begins, when the words of each row are cut into spans of `lengths` (B, T) words.

    begins: of words, as `unit_begins` gives them. A span ends early where its document does, or at a special token.
    """
    num_rows, length = tf.shape(begins)[0], begins.shape[1]
    num_words = tf.reduce_sum(tf.cast(begins, tf.int32), axis=1)
    ends = running_sum(lengths)
    # Words on which a span begins: the first, and those behind the ends that are still in the row. No row has more spans than
    # `most`, a part of the columns.
    most = tf.reduce_max(tf.reduce_sum(tf.cast(ends < num_words[:, None], tf.int32), axis=1))
    words = tf.pad(ends[:, :most], [[0, 0], [1, 0]])
    before = tf.cumsum(num_words, exclusive=True)
    number = tf.where(words < num_words[:, None], words + before[:, None], before[:, None])
    places = tf.gather(true_places(begins), number)
    # Some are named twice, the row's first word where there is no other.
    places = tf.reshape(places, [-1])
    another = tf.math.unsorted_segment_sum(tf.ones_like(places), places, num_rows * length) > 0
    return unit_begins(tf.reshape(another, [num_rows, length]), selectable, document_ids)


def position_bits(length: int) -> int:
    """The bits that hold a position below `length`."""
    return 2 ** max(1, (length - 1).bit_length()) - 1


def nth_highest(scores: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """int32 (B,): the wanted-th highest of each row of `scores` (B, T), the highest int32 where none is wanted.

    wanted: int32 (B,), at most T. That one number takes a fifth of the time of sorting.
    """
    most = tf.maximum(tf.reduce_max(wanted), 1)
    # Filled up with the highest numbers, so that the same place holds the number of every row.
    missing = tf.range(tf.maximum(most - tf.reduce_min(wanted), 0))[None, :] < (most - wanted)[:, None]
    filled = tf.concat([scores, tf.where(missing, tf.int32.max, tf.int32.min)], axis=1)
    return tf.raw_ops.NthElement(input=filled, n=most - 1, reverse=True)


class SelectedUnits(NamedTuple):
    """The selected units of a batch, row by row and ascending: where each begins in its row, and how long it is; of each row
    how many positions they hold; int32."""

    begins: tf.Tensor
    sizes: tf.Tensor
    found: tf.Tensor

    def positions(self, slots: int, length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 (B, slots), 0 where a row has fewer: the positions in rows of `length`, and of each where its unit begins."""
        # One range for each unit makes both: the begin above, the distance from it below.
        bits = length.bit_length()
        dtype = tf.int32 if 2 * bits < 32 else tf.int64
        starts = tf.cast(self.begins, dtype) * 2**bits
        ranges = number_ranges(starts, starts + tf.cast(self.sizes, dtype)).rt_dense_values
        said = padded(ranges, splits_of(self.found), slots)
        begins = tf.bitwise.right_shift(said, tf.constant(bits, dtype))
        positions = begins + tf.bitwise.bitwise_and(said, tf.constant(2**bits - 1, dtype))
        return tf.cast(positions, tf.int32), tf.cast(begins, tf.int32)


def select_units(begins: tf.Tensor, selectable: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor) -> SelectedUnits:
    """Words or spans drawn at random, whole, as long as they fit into `wanted` (B,).

    begins, selectable: bool (B, T); scores: int32 (B, T), from `distinct`, the first position's decides for all. Units are
    taken in the order of their scores until one does not fit; it is passed over, and so are others of the FILL_UNITS from it
    on, for those that do, as in BERT's own data preparation.
    """
    num_rows, length = tf.shape(begins)[0], begins.shape[1]
    places = true_places(begins)
    sizes = tf.concat([places[1:], tf.size(begins)[None]], axis=0) - places
    # Less 1, because the last end of the positions may be above int32.
    lowest = tf.gather(tf.reshape(tf.where(selectable, scores, _NEVER + 1), [-1]), places) - 1
    # The positions of a unit are as high as its score and rise by one: the low bits of a score are the position of the begin, so
    # that those of the next unit are higher.
    rising = tf.reshape(number_ranges(lowest, lowest + sizes).rt_dense_values, [num_rows, length])
    # What is wanted ends inside of a unit or with its begin, the lowest of its positions.
    last = nth_highest(rising, wanted)[:, None]

    # From here on the columns are units, which are fewer than positions.
    splits = splits_of(tf.reduce_sum(tf.cast(begins, tf.int32), axis=1))
    high = padded(lowest, splits, None, _NEVER)
    # What can't be drawn fits nowhere.
    size = padded(tf.where(lowest > _NEVER, sizes, length + 1), splits, None, length + 1)
    edge = _highest(high, high <= last)
    first = high >= edge + tf.cast(last > edge, tf.int32)
    left = wanted[:, None] - _sum(size, first)

    # Rows with room take the highest unit that fits, and again. Few have more than that, or have gone too far down.
    rows = true_places(left > 0)
    high_here, size_here, room, limit = (tf.gather(part, rows) for part in (high, size, left, edge))
    below, deepest, filled = limit, limit, tf.gather(first, rows)
    for _ in range(_FIRST_UNITS):
        below = _highest(high_here, tf.logical_and(high_here < below, size_here <= room))
        found = tf.equal(high_here, below)
        filled, room = tf.logical_or(filled, found), room - _sum(size_here, found)
        deepest = tf.where(below > _NONE, below, deepest)
    more = _highest(high_here, tf.logical_and(high_here < below, size_here <= room)) > _NONE
    passed = tf.logical_and(high_here < limit, high_here >= deepest)
    too_deep = tf.reduce_sum(tf.cast(passed, tf.int32), axis=1, keepdims=True) >= FILL_UNITS
    again = true_places(tf.logical_or(more, too_deep))
    selected = tf.tensor_scatter_nd_update(first, rows[:, None], filled)
    # These begin anew.
    rows = tf.gather(rows, again)
    selected = tf.tensor_scatter_nd_update(selected, rows[:, None], tf.gather(first, rows))
    high_here, left = tf.gather(high_here, again), tf.gather(left, rows)
    drawable = tf.where(high_here < tf.gather(limit, again), high_here, _NEVER)
    num_columns = tf.shape(high)[1]
    best = tf.math.top_k(drawable, tf.minimum(FILL_UNITS - 1, num_columns))
    columns = best.indices + rows[:, None] * num_columns
    fills = tf.where(best.values > _NEVER, tf.gather(tf.reshape(size, [-1]), columns), length + 1)
    room, taken = left, tf.zeros_like(fills)
    for _ in range(MAX_PASSES):
        fit = tf.where(tf.logical_and(tf.equal(taken, 0), fills <= room), fills, 0)
        taken += tf.where(tf.cumsum(fit, axis=1) <= room, fit, 0)
        room = left - tf.reduce_sum(taken, axis=1, keepdims=True)
    others = tf.gather(tf.reshape(columns, [-1]), true_places(taken > 0))[:, None]
    flags = tf.tensor_scatter_nd_update(tf.reshape(selected, [-1]), others, tf.ones_like(others[:, 0], tf.bool))

    chosen = true_places(flags)
    begins_chosen = tf.bitwise.bitwise_and(tf.gather(tf.reshape(high, [-1]), chosen) + 1, position_bits(length))
    flags = tf.reshape(flags, tf.shape(high))
    return SelectedUnits(begins_chosen, tf.gather(tf.reshape(size, [-1]), chosen), _sum(size, flags)[:, 0])


def _highest(values: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """(B, 1): the highest of each row where `flags` is True, _NONE where it is nowhere."""
    return tf.reduce_max(tf.where(flags, values, _NONE), axis=1, keepdims=True)


def _sum(values: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """(B, 1): the sum of each row where `flags` is True."""
    return tf.reduce_sum(tf.where(flags, values, 0), axis=1, keepdims=True)
