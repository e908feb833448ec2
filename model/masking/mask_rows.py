"""Masking in the tf.data graph: which positions, and what replaces them, as pure functions of seed, epoch and row.

The rule is BERT's (Devlin et al. 2018, section 3.1): of the selected positions 80% show the mask token, 10% a random
token, 10% themselves; the loss counts all of them. What is selected are tokens, whole words, spans of words as in
SpanBERT (Joshi et al. 2019, arXiv 1907.10529, section 3.1) or n-grams as in ALBERT (Lan et al. 2019, section 4.1).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clozekit.model.common.hashing import hash_positions, row_keys
from clozekit.model.common.row_sums import add_at, running_sum
from clozekit.model.masking.masking_rule import MaskingRule, num_predictions
from clozekit.tokenizers.common.errors import InputError

# Which decision a hash serves; two decisions about one position must not be correlated.
_SELECT, _REPLACE, _RANDOM_TOKEN, _LENGTH, _SAMPLE = 1, 2, 3, 4, 5
# Units that may fill the room that the last one left, and the rounds in which they do; real text is full after two.
FILL_UNITS = 64
MAX_PASSES = 5


def _shares(weights: list[float]) -> tuple[float, ...]:
    return tuple(weight / sum(weights) for weight in weights)


# Probability of 1 word, 2 words, ...: SpanBERT's geometric one with p = 0.2, at most 10; ALBERT's 1/n, at most 3.
SPAN_LENGTHS = {
    "span": _shares([0.2 * 0.8**n for n in range(10)]),
    "ngram": _shares([1 / n for n in range(1, 4)]),
}


class RowsToMask(NamedTuple):
    """What a function of the user's own selects from, as a `masking.strategy`: it returns bool (B, T), which positions.

    It must be a function of these alone, so that a run that goes on masks what one that never stopped would have masked.
    Positions beyond the slots of a row (`masking.num_slots`) are left out, the last ones first.

    Args:
        token_ids: int32 (B, T).
        selectable: bool (B, T), False at special tokens and padding, which are never selected.
        word_begins: bool (B, T), where words begin.
        document_ids: int32 (B, T), or None where a row is one document.
        scores: int32 (B, T), random numbers from 0 on without ties within a row, new in every epoch.
        wanted: int32 (B,), how many positions `masking.train_rate` asks for.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.masking.mask_rows import RowsToMask
        >>> def every_other(rows: RowsToMask) -> tf.Tensor:
        ...     return tf.equal(tf.range(rows.token_ids.shape[1])[None, :] % 2, 1) & rows.selectable
        >>> ids, yes = tf.ones([1, 4], tf.int32), tf.ones([1, 4], tf.bool)
        >>> every_other(RowsToMask(ids, yes, yes, None, ids, tf.constant([2]))).numpy().tolist()
        [[False, True, False, True]]
    """

    token_ids: tf.Tensor
    selectable: tf.Tensor
    word_begins: tf.Tensor
    document_ids: tf.Tensor | None
    scores: tf.Tensor
    wanted: tf.Tensor


def own_selection(select: Callable[[RowsToMask], tf.Tensor], rows: RowsToMask) -> tf.Tensor:
    """bool (B, T): what a function of the user's own selects of what may be. Raises InputError for anything else."""
    selected = select(rows)
    shape = rows.token_ids.shape
    fits = isinstance(selected, tf.Tensor) and selected.dtype == tf.bool and shape.is_compatible_with(selected.shape)
    if not fits:
        shown = " ".join(f"{selected}".split())[:200]
        raise InputError(f"masking.strategy must return bool (B, T), which positions are masked, it returned {shown}")
    return tf.logical_and(selected, rows.selectable)


def mask_rows(
    token_ids: tf.Tensor,
    row_ids: tf.Tensor,
    epoch: tf.Tensor,
    options: MaskingRule,
    document_ids: tf.Tensor | None = None,
    rate: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Masks rows of static length.

    token_ids: int32 (B, T), padded with a special id; row_ids: int64 (B,); document_ids: int32 (B, T), no word or span
    goes from one document to the next; rate: float64 scalar, at most
    options.mask_selection_rate, in its place. Returns token_ids (masked), mask_positions (int32, ascending), mask_ids (int32,
    the original ids), mask_weights (float32, 1 or 0), the last three (B, M) with M = options.num_slots, and
    mask_overflow (int32, (B,)): how many positions more the rate asks for than there are slots. Of n selectable positions
    exactly round-up(rate * n) are selected, at most M, or as many as whole words or spans fill; random replacements are
    never special. Where options.has_dice says so also mask_dice, float32 (B, M): numbers between 0 and 1.
    """
    length = token_ids.shape[1]
    slots = options.num_slots or num_predictions(length, options.mask_selection_rate)
    special = _table(options.special_token_ids, options.vocabulary_size)
    unselectable = options.unselectable_token_ids
    unselectable_table = special if unselectable is None else _table(unselectable, options.vocabulary_size)
    starts_table = np.zeros_like(special) if options.word_starts is None else np.asarray(options.word_starts, bool)
    ordinary_ids = tf.constant(np.flatnonzero(~special), tf.int32)
    # One table for both questions: a gather of all ids is among the dearest things here.
    kinds = tf.gather(tf.constant(unselectable_table + 2 * starts_table, tf.int32), token_ids)
    selectable = tf.equal(tf.bitwise.bitwise_and(kinds, 1), 0)
    num_selectable = tf.reduce_sum(tf.cast(selectable, tf.int32), axis=1)
    # float64: 0.15 * 100 is 15.000000000000002 in it and 15.000001 in float32, both above 15.
    exact = tf.cast(num_selectable, tf.float64) * (options.mask_selection_rate if rate is None else rate)
    asked_for = tf.cast(tf.math.ceil(exact - 1e-9), tf.int32)
    wanted = tf.minimum(asked_for, slots)

    everywhere = tf.range(length)[None, :]

    def random_bits(stream: int, positions: tf.Tensor) -> tf.Tensor:
        return hash_positions(row_keys(row_ids, epoch, options.seed, stream), positions)

    scores = distinct(random_bits(_SELECT, everywhere))
    begins = None
    if options.select is not None:
        words = unit_begins(kinds >= 2, selectable, document_ids)
        rows = RowsToMask(token_ids, selectable, words, document_ids, scores, wanted)
        selected = own_selection(options.select, rows)
    elif options.strategy == "token":
        selected = select_tokens(selectable, scores, wanted, min(slots, length))
    else:
        begins = unit_begins(kinds >= 2, selectable, document_ids)
        if options.strategy != "whole_word":
            lengths = span_lengths(random_bits(_LENGTH, everywhere), SPAN_LENGTHS[options.strategy])
            begins = join_words(begins, lengths, selectable, document_ids)
        selected = select_units(begins, selectable, scores, wanted, min(slots, length))
    # The position of the first selected one, the second, ...; slots left over point to 0 with weight 0.
    numbers = tf.range(1, slots + 1)[None, :]
    found = running_sum(tf.cast(selected, tf.int32))
    positions = tf.searchsorted(found, tf.broadcast_to(numbers, [tf.shape(token_ids)[0], slots]), side="left")
    used = positions < length
    positions = tf.where(used, positions, 0)
    originals = tf.gather(token_ids, positions, batch_dims=1)

    # SpanBERT replaces a span as one.
    decided_by = unit_begin(begins, positions) if options.strategy == "span" else positions
    dice = tf.cast(random_bits(_REPLACE, decided_by), tf.float32) / 2.0**31
    random_index = random_bits(_RANDOM_TOKEN, positions) % tf.maximum(tf.size(ordinary_ids), 1)
    both_rates = options.mask_token_rate + options.random_token_rate
    shown = tf.where(dice < both_rates, tf.gather(ordinary_ids, random_index), originals)
    shown = tf.where(dice < options.mask_token_rate, options.mask_token_id, shown)
    # Differences are added, so that unused slots, which all name position 0, add nothing.
    change = add_at(positions, tf.where(used, shown - originals, 0), length)
    dice_of_samples = {}
    if options.has_dice:
        # 23 bits and a half: float32 holds them, and neither 0 nor 1 is among them.
        upper = tf.bitwise.right_shift(random_bits(_SAMPLE, positions), 8)
        dice_of_samples = {"mask_dice": (tf.cast(upper, tf.float32) + 0.5) / 2.0**23}
    return {
        **dice_of_samples,
        "token_ids": token_ids + change,
        "mask_positions": positions,
        "mask_ids": tf.where(used, originals, 0),
        "mask_weights": tf.cast(used, tf.float32),
        "mask_overflow": asked_for - wanted,
    }


def distinct(scores: tf.Tensor) -> tf.Tensor:
    """scores (B, T) without ties within a row: their low bits give way to the position."""
    low = _position_bits(scores.shape[1])
    return tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(scores, ~low), tf.range(scores.shape[1])[None, :])


def _position_bits(length: int) -> int:
    return 2 ** max(1, (length - 1).bit_length()) - 1


def select_tokens(selectable: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor, most: int) -> tf.Tensor:
    """bool (B, T): the `wanted` (B,) selectable positions with the highest scores; wanted is at most `most`."""
    scores = tf.where(selectable, scores, -1)
    # Filled up with the highest numbers to `most` in each row, so that the same place holds the lowest score of every
    # row. That one number takes a sixth of the time of sorting.
    missing = tf.range(most)[None, :] < (most - wanted)[:, None]
    filled = tf.concat([scores, tf.where(missing, tf.int32.max, -1)], axis=1)
    return scores >= tf.raw_ops.NthElement(input=filled, n=most - 1, reverse=True)[:, None]


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

    begins: of words. A span ends early where its document does, or at a special token.
    """
    word_of = running_sum(tf.cast(begins, tf.int32)) - 1
    span_of = tf.searchsorted(running_sum(lengths), word_of, side="right")
    another = tf.pad(tf.not_equal(span_of[:, 1:], span_of[:, :-1]), [[0, 0], [1, 0]], constant_values=True)
    return unit_begins(another, selectable, document_ids)


def unit_begin(begins: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """int32 (B, M): the positions at which the units of `positions` (B, M) begin, where ascending `positions` hold units
    as wholes."""
    first = tf.gather(begins, positions, batch_dims=1)
    unit_of = running_sum(tf.cast(first, tf.int32))
    firsts = add_at(unit_of, tf.where(first, positions, 0), positions.shape[1] + 1)
    return tf.gather(firsts, unit_of, batch_dims=1)


def unit_sizes(unit_of: tf.Tensor) -> tf.Tensor:
    """int32 (B, T): column k is the number of positions of unit k of the row; unit_of: the unit of each position."""
    return add_at(unit_of, tf.ones_like(unit_of), unit_of.shape[1])


def select_units(
    begins: tf.Tensor, selectable: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor, most: int
) -> tf.Tensor:
    """bool (B, T): the positions of words or spans drawn at random, whole, as long as they fit into `wanted` (B,).

    begins: where they begin; scores: int32 (B, T), from `distinct`, the first position's decides for all; wanted: at most
    `most`. Units are taken in the order of their scores until one does not fit; it is passed over, and so are others of
    the next FILL_UNITS, for those that do, as in BERT's own data preparation.
    """
    length = begins.shape[1]
    score = tf.where(tf.logical_and(begins, selectable), scores, -1)
    # All of them: sorting a part was slower. The low bits say where a unit begins.
    best = tf.sort(score, axis=1, direction="DESCENDING")[:, : min(length, most + FILL_UNITS)]
    first = tf.minimum(tf.bitwise.bitwise_and(best, _position_bits(length)), length - 1)
    unit_of = running_sum(tf.cast(begins, tf.int32)) - 1
    size = tf.gather(unit_sizes(unit_of), tf.gather(unit_of, first, batch_dims=1), batch_dims=1)
    # What can't be drawn fits nowhere.
    size = tf.where(best >= 0, size, length + 1)
    filled = tf.cumsum(size, axis=1)
    fits = filled <= wanted[:, None]
    num_taken = tf.reduce_sum(tf.cast(fits, tf.int32), axis=1)
    left = wanted - tf.reduce_max(tf.where(fits, filled, 0), axis=1)
    # The next ones: few columns, so that passing over costs little.
    following = num_taken[:, None] + tf.range(FILL_UNITS)[None, :]
    inside = tf.minimum(following, size.shape[1] - 1)
    next_first = tf.gather(first, inside, batch_dims=1)
    next_size = tf.where(following < size.shape[1], tf.gather(size, inside, batch_dims=1), length + 1)
    more = tf.zeros_like(next_size, tf.bool)
    for _ in range(MAX_PASSES):
        room = (left - tf.reduce_sum(tf.where(more, next_size, 0), axis=1))[:, None]
        fit = tf.logical_and(tf.logical_not(more), next_size <= room)
        more = tf.logical_or(more, tf.logical_and(fit, tf.cumsum(tf.where(fit, next_size, 0), axis=1) <= room))
    taken = tf.concat([fits, more], axis=1)
    begin = tf.concat([first, next_first], axis=1)
    end = tf.where(taken, begin + tf.concat([size, next_size], axis=1), length)
    # 1 at the begin of each unit taken, -1 behind its end: their running sum is 1 inside.
    steps = tf.cast(taken, tf.int32)
    edges = add_at(tf.concat([begin, end], axis=1), tf.concat([steps, -steps], axis=1), length + 1)
    return running_sum(edges[:, :length]) > 0


def _table(token_ids: tuple[int, ...], vocabulary_size: int) -> np.ndarray:
    table = np.zeros(vocabulary_size, bool)
    table[list(token_ids)] = True
    return table
