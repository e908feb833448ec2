"""Masking in the tf.data graph: which positions, and what replaces them, as pure functions of seed, epoch and row.

The rule is BERT's (Devlin et al. 2018, section 3.1): of the selected positions 80% show the mask token, 10% a random
token, 10% themselves; the loss counts all of them.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from clozekit.tokenizers.errors import InputError

VALIDATION_SEED = 0
# Which decision a hash serves; two decisions about one position must not be correlated.
_SELECT, _REPLACE, _RANDOM_TOKEN = 1, 2, 3
# Rounds in which words that still fit are added; real text is full after two or three.
MAX_PASSES = 6


@dataclass(frozen=True)
class MaskingOptions:
    """Rates from 0 to 1, seed, and what the vocabulary says: its size, the mask token, the ids never touched."""

    mask_token_id: int
    vocabulary_size: int
    special_token_ids: tuple[int, ...]
    mask_selection_rate: float = 0.15
    mask_token_rate: float = 0.8
    random_token_rate: float = 0.1
    seed: int = 0
    # Ids that are never selected; None means the special ones.
    unselectable_token_ids: tuple[int, ...] | None = None
    # Prediction slots of a row; None means as many as the rate can ask for.
    num_slots: int | None = None
    # bool (vocabulary_size,), True where a piece starts a word: words are then selected whole.
    word_starts: np.ndarray | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("mask_selection_rate", "mask_token_rate", "random_token_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be a rate from 0 to 1, got {getattr(self, name)}")
        if self.mask_token_rate + self.random_token_rate > 1 + 1e-9:
            raise InputError(
                "mask_token_rate + random_token_rate must be at most 1, got"
                f" {self.mask_token_rate} + {self.random_token_rate}; lower one"
            )

    def for_validation(self, mask_selection_rate: float) -> "MaskingOptions":
        """The same with another rate and a fixed seed: runs of any seed are measured on the same masks."""
        return dataclasses.replace(self, mask_selection_rate=mask_selection_rate, seed=VALIDATION_SEED)


def num_predictions(row_length: int, mask_selection_rate: float) -> int:
    """Prediction slots of a row: as many as the rate can ask for, so that none ever overflows."""
    return max(1, math.ceil(row_length * mask_selection_rate))


def _fmix32(x: tf.Tensor) -> tf.Tensor:
    """The finaliser of MurmurHash3 (Appleby, public domain) on uint32."""
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    x *= tf.constant(0x85EBCA6B, tf.uint32)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(13, tf.uint32)))
    x *= tf.constant(0xC2B2AE35, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))


def hash_positions(row_ids: tf.Tensor, epoch: tf.Tensor, seed: int, stream: int, length: int) -> tf.Tensor:
    """31 random bits (int32, 0 or more) for each position: a function of (seed, stream, epoch, row, position).

    row_ids: int64 (B,); epoch: int64, one for all rows or (B,). Returns (B, length).
    """
    rows = tf.bitcast(tf.cast(row_ids, tf.int64), tf.uint32)  # (B, 2): lower and upper half
    key = tf.constant((seed * 0x9E3779B1 + stream * 0x7FEB352D) & 0xFFFFFFFF, tf.uint32)
    epochs = tf.broadcast_to(tf.cast(epoch, tf.uint32), tf.shape(rows)[:1]) * tf.constant(0x846CA68B, tf.uint32)
    key = _fmix32(tf.bitwise.bitwise_xor(epochs, key))
    key = _fmix32(tf.bitwise.bitwise_xor(rows[:, 0], key))
    key = _fmix32(tf.bitwise.bitwise_xor(rows[:, 1] * tf.constant(0xC2B2AE3D, tf.uint32), key))
    positions = tf.cast(tf.range(length), tf.uint32) * tf.constant(0x9E3779B1, tf.uint32)
    mixed = _fmix32(_fmix32(key[:, None] + positions[None, :]) + key[:, None])
    return tf.cast(tf.bitwise.right_shift(mixed, tf.constant(1, tf.uint32)), tf.int32)


def hash_rows(token_ids: tf.Tensor) -> tf.Tensor:
    """int64 (B,): a fingerprint of each row of ids (B, T) and of its place in the batch, in place of a row number."""
    ids = tf.bitcast(token_ids, tf.uint32)
    places = tf.cast(tf.range(tf.shape(ids)[1]), tf.uint32) * tf.constant(0x9E3779B1, tf.uint32)
    mixed = _fmix32(_fmix32(ids + places[None, :]) + tf.constant(0x7FEB352D, tf.uint32))
    # tf has no sum of uint32 on every device: sums of int32 wrap alike.
    summed = tf.reduce_sum(tf.bitcast(mixed, tf.int32), axis=1)
    order = tf.range(tf.shape(ids)[0])
    return tf.bitcast(tf.stack([summed, order], axis=1), tf.int64)


def mask_rows(
    token_ids: tf.Tensor, row_ids: tf.Tensor, epoch: tf.Tensor, options: MaskingOptions
) -> dict[str, tf.Tensor]:
    """Masks rows of static length.

    token_ids: int32 (B, T), padded with a special id; row_ids: int64 (B,). Returns token_ids (masked), mask_positions
    (int32, ascending), mask_ids (int32, the original ids), mask_weights (float32, 1 or 0), the last three (B, M) with
    M = options.num_slots. Of n selectable positions exactly round-up(rate * n) are selected, at most M, or with
    word_starts as many as whole words fill; random replacements are never special.
    """
    length = token_ids.shape[1]
    slots = options.num_slots or num_predictions(length, options.mask_selection_rate)
    special = _table(options.special_token_ids, options.vocabulary_size)
    unselectable = options.unselectable_token_ids
    unselectable_table = special if unselectable is None else _table(unselectable, options.vocabulary_size)
    ordinary_ids = tf.constant(np.flatnonzero(~special), tf.int32)
    selectable = tf.logical_not(tf.gather(tf.constant(unselectable_table), token_ids))
    wanted = tf.reduce_sum(tf.cast(selectable, tf.int32), axis=1)
    # float64: 0.15 * 100 is 15.000000000000002 in it and 15.000001 in float32, both above 15.
    exact = tf.cast(wanted, tf.float64) * options.mask_selection_rate
    wanted = tf.minimum(tf.cast(tf.math.ceil(exact - 1e-9), tf.int32), slots)

    scores = hash_positions(row_ids, epoch, options.seed, _SELECT, length)
    if options.word_starts is None:
        # The best `wanted` of them, in the order of the text; slots left over point to 0 with weight 0.
        _, chosen = tf.math.top_k(tf.where(selectable, scores, -1), min(slots, length))
        chosen = tf.pad(chosen, [[0, 0], [0, max(0, slots - length)]])
        used = tf.range(slots)[None, :] < wanted[:, None]
        positions = tf.sort(tf.where(used, chosen, length), axis=1)
    else:
        starts = tf.gather(tf.constant(np.asarray(options.word_starts, bool)), token_ids)
        selected = select_words(starts, selectable, scores, wanted)
        positions = tf.sort(tf.where(selected, tf.range(length)[None, :], length), axis=1)[:, :slots]
        positions = tf.pad(positions, [[0, 0], [0, max(0, slots - length)]], constant_values=length)
        used = positions < length
    positions = tf.where(used, positions, 0)
    mask_ids = tf.where(used, tf.gather(token_ids, positions, batch_dims=1), 0)

    dice = tf.cast(hash_positions(row_ids, epoch, options.seed, _REPLACE, length), tf.float32) / 2.0**31
    random_index = hash_positions(row_ids, epoch, options.seed, _RANDOM_TOKEN, length) % tf.maximum(
        tf.size(ordinary_ids), 1
    )
    replaced = tf.where(
        dice < options.mask_token_rate,
        options.mask_token_id,
        tf.where(
            dice < options.mask_token_rate + options.random_token_rate, tf.gather(ordinary_ids, random_index), token_ids
        ),
    )
    rows = tf.broadcast_to(tf.range(tf.shape(token_ids)[0])[:, None], tf.shape(positions))
    hits = tf.scatter_nd(tf.stack([rows, positions], -1), tf.cast(used, tf.int32), tf.shape(token_ids))
    return {
        "token_ids": tf.where(hits > 0, replaced, token_ids),
        "mask_positions": positions,
        "mask_ids": mask_ids,
        "mask_weights": tf.cast(used, tf.float32),
    }


def select_words(starts: tf.Tensor, selectable: tf.Tensor, scores: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """bool (B, T): the positions of words drawn at random, whole, as long as they fit into `wanted` positions (B,).

    starts, selectable: bool (B, T); scores: int32 (B, T), the first position's decides for its word. A word that does
    not fit is passed over for one that does, as in BERT's own data preparation; the passes stop after MAX_PASSES.
    """
    length = starts.shape[1]
    places = tf.range(length)[None, :]
    follows_word = tf.pad(selectable[:, :-1], [[0, 0], [1, 0]])
    begins = tf.logical_or(starts, tf.logical_not(tf.logical_and(selectable, follows_word)))
    word_of = tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1
    # Column k of these tells of word k: where it begins, how long it is, whether it may be drawn.
    begin = tf.sort(tf.where(begins, places, length), axis=1)
    size = tf.pad(begin[:, 1:], [[0, 0], [0, 1]], constant_values=length) - begin
    first = tf.minimum(begin, length - 1)
    drawable = tf.logical_and(begin < length, tf.gather(selectable, first, batch_dims=1))
    score = tf.where(drawable, tf.gather(scores, first, batch_dims=1), -1)
    order = tf.argsort(score, axis=1, direction="DESCENDING", stable=True)
    size_in_order = tf.gather(tf.where(drawable, size, length + 1), order, batch_dims=1)
    taken = tf.zeros_like(drawable)
    for _ in range(MAX_PASSES):
        left = (wanted - tf.reduce_sum(tf.where(taken, size_in_order, 0), axis=1))[:, None]
        fits = tf.logical_and(tf.logical_not(taken), size_in_order <= left)
        filled = tf.cumsum(tf.where(fits, size_in_order, 0), axis=1)
        taken = tf.logical_or(taken, tf.logical_and(fits, filled <= left))
    by_word = tf.gather(taken, tf.argsort(order, axis=1), batch_dims=1)
    return tf.logical_and(tf.gather(by_word, word_of, batch_dims=1), selectable)


def _table(token_ids: tuple[int, ...], vocabulary_size: int) -> np.ndarray:
    table = np.zeros(vocabulary_size, bool)
    table[list(token_ids)] = True
    return table
