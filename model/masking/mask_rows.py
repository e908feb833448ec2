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
from clozekit.model.common.row_sums import padded, splits_of, true_places
from clozekit.model.masking.masking_rule import MaskingRule, num_predictions
from clozekit.model.masking.select_units import (
    SPAN_LENGTHS,
    join_words,
    nth_highest,
    position_bits,
    select_units,
    span_lengths,
    unit_begins,
)
from clozekit.tokenizers.common.errors import InputError

# Which decision a hash serves; two decisions about one position must not be correlated.
_STREAMS = (1, 2, 3, 4, 5)
_SELECT, _REPLACE, _RANDOM_TOKEN, _LENGTH, _SAMPLE = range(5)


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
    goes from one document to the next; rate: float64, one or (B,), at most
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
    # One table for both questions, of bytes: a gather of all ids is among the dearest things here.
    kinds = tf.gather(tf.constant(unselectable_table + 2 * starts_table, tf.uint8), token_ids)
    selectable = tf.equal(tf.bitwise.bitwise_and(kinds, 1), 0)
    num_selectable = tf.reduce_sum(tf.cast(selectable, tf.int32), axis=1)
    # float64: 0.15 * 100 is 15.000000000000002 in it and 15.000001 in float32, both above 15.
    exact = tf.cast(num_selectable, tf.float64) * (options.mask_selection_rate if rate is None else rate)
    asked_for = tf.cast(tf.math.ceil(exact - 1e-9), tf.int32)
    wanted = tf.minimum(asked_for, slots)

    everywhere = tf.range(length)[None, :]
    keys = row_keys(row_ids, epoch, options.seed, _STREAMS)
    scores = distinct(hash_positions(keys[_SELECT], everywhere))
    if options.select is not None:
        words = unit_begins(kinds >= 2, selectable, document_ids)
        rows = RowsToMask(token_ids, selectable, words, document_ids, scores, wanted)
        positions, found = places_in_rows(own_selection(options.select, rows), slots)
    elif options.strategy == "token":
        positions, found = places_in_rows(select_tokens(selectable, scores, wanted), slots)
    else:
        begins = unit_begins(kinds >= 2, selectable, document_ids)
        if options.strategy != "whole_word":
            lengths = span_lengths(hash_positions(keys[_LENGTH], everywhere), SPAN_LENGTHS[options.strategy])
            begins = join_words(begins, lengths, selectable, document_ids)
        units = select_units(begins, selectable, scores, wanted)
        positions, unit_begin = units.positions(slots, length)
        found = units.found
    # Slots left over name position 0, with weight 0.
    used = tf.range(slots)[None, :] < found[:, None]
    places = positions + (tf.range(tf.shape(token_ids)[0]) * length)[:, None]
    flat_ids = tf.reshape(token_ids, [-1])
    originals = tf.gather(flat_ids, places)

    # SpanBERT replaces a span as one.
    decided_by = unit_begin if options.strategy == "span" and options.select is None else positions
    dice = tf.cast(hash_positions(keys[_REPLACE], decided_by), tf.float32) / 2.0**31
    both_rates = options.mask_token_rate + options.random_token_rate
    is_random = tf.logical_and(dice < both_rates, dice >= options.mask_token_rate)
    random_index = hash_positions(keys[_RANDOM_TOKEN], positions) % tf.maximum(tf.size(ordinary_ids), 1)
    # Where no random token is shown all look at one place of the list, which costs half of looking everywhere.
    shown = tf.where(is_random, tf.gather(ordinary_ids, tf.where(is_random, random_index, 0)), originals)
    shown = tf.where(dice < options.mask_token_rate, options.mask_token_id, shown)
    # Differences are added, so that unused slots add nothing.
    change = tf.where(used, shown - originals, 0)
    changes = tf.math.unsorted_segment_sum(tf.reshape(change, [-1]), tf.reshape(places, [-1]), tf.size(flat_ids))
    dice_of_samples = {}
    if options.has_dice:
        # 23 bits and a half: float32 holds them, and neither 0 nor 1 is among them.
        upper = tf.bitwise.right_shift(hash_positions(keys[_SAMPLE], positions), 8)
        dice_of_samples = {"mask_dice": (tf.cast(upper, tf.float32) + 0.5) / 2.0**23}
    return {
        **dice_of_samples,
        "token_ids": tf.reshape(flat_ids + changes, tf.shape(token_ids)),
        "mask_positions": positions,
        "mask_ids": tf.where(used, originals, 0),
        "mask_weights": tf.cast(used, tf.float32),
        "mask_overflow": asked_for - wanted,
    }


def places_in_rows(selected: tf.Tensor, slots: int) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 (B, slots) and (B,): the selected positions of each row, ascending, 0 behind the last; and how many they are."""
    num_rows, length = tf.shape(selected)[0], selected.shape[1]
    found = tf.reduce_sum(tf.cast(selected, tf.int32), axis=1)
    places = padded(true_places(selected), splits_of(found), slots)
    return tf.maximum(places - (tf.range(num_rows) * length)[:, None], 0), found


def distinct(scores: tf.Tensor) -> tf.Tensor:
    """scores (B, T) without ties within a row: their low bits give way to the position."""
    low = position_bits(scores.shape[1])
    return tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(scores, ~low), tf.range(scores.shape[1])[None, :])


def select_tokens(selectable: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """bool (B, T): the `wanted` (B,) selectable positions with the highest scores."""
    scores = tf.where(selectable, scores, -1)
    return scores >= nth_highest(scores, wanted)[:, None]


def _table(token_ids: tuple[int, ...], vocabulary_size: int) -> np.ndarray:
    table = np.zeros(vocabulary_size, bool)
    table[list(token_ids)] = True
    return table
