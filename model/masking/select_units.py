"""Whole words and spans of words: where they begin, and which of them a row's random numbers select."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clozekit.model.common.row_sums import number_ranges, running_sum, true_places

# Units that may fill the room that the last one left, and the rounds in which they do; real text is full after two.
FILL_UNITS = 64
MAX_PASSES = 5
# Nearly every row of words is full after so few. Others are looked at again, with all that may fill them.
_FIRST_UNITS, _FIRST_PASSES = 16, 2


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
    lengths = tf.ones_like(upper)
    # Faster than a table.
    for bound in bounds:
        lengths += tf.cast(upper >= int(bound), tf.int32)
    return lengths


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


class Units(NamedTuple):
    """The N units of a batch, row by row: where each begins among all positions of all rows, and how long it is; int32."""

    places: tf.Tensor
    sizes: tf.Tensor

    def holding(self, places: tf.Tensor) -> tf.Tensor:
        """int32, the shape of `places`: the number of the unit that each of them is in."""
        found = tf.searchsorted(self.places[None, :], tf.reshape(places, [1, -1]), side="right") - 1
        return tf.reshape(found, tf.shape(places))


def units_of(begins: tf.Tensor) -> Units:
    places = true_places(begins)
    ends = tf.concat([places[1:], tf.size(begins)[None]], axis=0)
    return Units(places, ends - places)


def unit_offsets(units: Units) -> tf.Tensor:
    """int32 (B * T,): how far behind its unit's begin each position is."""
    return number_ranges(tf.zeros_like(units.sizes), units.sizes).rt_dense_values


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


def select_units(
    units: Units, begins: tf.Tensor, selectable: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor
) -> tf.Tensor:
    """bool (B, T): the positions of words or spans drawn at random, whole, as long as they fit into `wanted` (B,).

    units: those of `begins`; scores: int32 (B, T), from `distinct`, the first position's decides for all. Units are taken in
    the order of their scores until one does not fit; it is passed over, and so are others of the FILL_UNITS from it on, for
    those that do, as in BERT's own data preparation.
    """
    num_rows, length = tf.shape(begins)[0], begins.shape[1]
    score = tf.gather(tf.reshape(tf.where(selectable, scores, -1), [-1]), units.places)
    # The positions of a unit are as high as its score and rise by one: the low bits of a score are the position of the begin, so
    # that those of the next unit are higher. Less 1, because the last end may be above int32.
    rising = tf.reshape(number_ranges(score - 1, score - 1 + units.sizes).rt_dense_values, [num_rows, length])
    # What is wanted ends inside of a unit or with its begin, the lowest of its positions.
    last = nth_highest(rising, wanted)
    place = tf.bitwise.bitwise_and(last + 1, position_bits(length)) + tf.range(num_rows) * length
    unit = units.holding(place)
    behind = place - tf.gather(units.places, unit)
    left = tf.where(behind > 0, tf.gather(units.sizes, unit) - behind, 0)
    selected = rising >= (last + left)[:, None]

    def fill(rows: tf.Tensor, num_units: int, num_passes: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of some rows (R,) the next units: where they begin and how long they are, 0 where not taken; the room left."""
        lower = tf.gather(rising, rows)
        below = tf.gather(last - behind, rows)[:, None]
        drawable = tf.logical_and(tf.gather(begins, rows), lower < below)
        best = tf.math.top_k(tf.where(drawable, lower, -2), min(num_units, length)).values + 1
        places = tf.bitwise.bitwise_and(best, position_bits(length)) + rows[:, None] * length
        # What can't be drawn fits nowhere.
        size = tf.where(best >= 0, tf.gather(units.sizes, units.holding(places)), length + 1)
        room, taken = tf.gather(left, rows), tf.zeros_like(size)
        for _ in range(num_passes):
            fit = tf.where(tf.logical_and(tf.equal(taken, 0), size <= room[:, None]), size, 0)
            taken += tf.where(tf.cumsum(fit, axis=1) <= room[:, None], fit, 0)
            room = tf.gather(left, rows) - tf.reduce_sum(taken, axis=1)
        return places, taken, room

    rows = true_places(left > 0)
    places, taken, room = fill(rows, _FIRST_UNITS, _FIRST_PASSES)
    # What is full after the first few would have been filled by the same ones with more to choose from.
    again = tf.gather(rows, true_places(room > 0))
    places_again, taken_again, _ = fill(again, FILL_UNITS - 1, MAX_PASSES)
    taken = tf.where(room[:, None] > 0, 0, taken)
    places = tf.concat([tf.reshape(places, [-1]), tf.reshape(places_again, [-1])], axis=0)
    taken = tf.concat([tf.reshape(taken, [-1]), tf.reshape(taken_again, [-1])], axis=0)
    more = number_ranges(places, places + taken).rt_dense_values
    filled = tf.tensor_scatter_nd_update(tf.reshape(selected, [-1]), more[:, None], tf.ones_like(more, tf.bool))
    return tf.reshape(filled, [num_rows, length])
