"""Every kind of masking on many drawn rows, and what is derived of drawn records, pinned bit for bit."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.masking.mask_rows import RowsToMask, mask_rows
from clozekit.model.masking.masking_rule import STRATEGIES, MaskingRule
from clozekit.model.reading.row_records import RecordFormat, parse_rows

VOCABULARY_SIZE = 200
NUM_CASES = 24

# A change of these would break every run that is resumed with a newer Clozekit. Made by this test when every kind sorted its
# scores and searched for its positions (`pytest tests/model/masking/test_pinned_kinds.py`).
MASKS = {
    "token": "6159dccb25625d2c",
    "whole_word": "ce41c7d6eba1fa37",
    "span": "90ebea63929c72c9",
    "ngram": "daa9d7be24de7219",
    "own": "c36e25cdc2529e26",
}
DERIVED = {False: "58a53ed886ae578a", True: "93e65248dd52f1d8"}


def every_third_word(rows: RowsToMask) -> tf.Tensor:
    """A selection of a user's own, of more positions than there are slots."""
    return rows.word_begins & (rows.scores % 3 > 0)


def drawn_rule(dice: np.random.RandomState, kind: str, length: int) -> MaskingRule:
    """Rates, slots, words from single pieces to longer than a row, and what may be masked."""
    starts = dice.random_sample(VOCABULARY_SIZE) < dice.choice([0.0, 0.05, 0.3, 0.6, 0.9, 1.0])
    mask_token_rate = dice.choice([0.0, 0.8, 1.0])
    return MaskingRule(
        mask_token_id=4,
        vocabulary_size=VOCABULARY_SIZE,
        special_token_ids=(0, 1, 2, 3, 4),
        mask_selection_rate=float(dice.choice([0.0, 0.03, 0.15, 0.3, 0.5, 1.0])),
        mask_token_rate=float(mask_token_rate),
        random_token_rate=float(dice.choice([0.0, 0.1, 1.0]) * (1 - mask_token_rate)),
        seed=int(dice.randint(0, 2**31)),
        unselectable_token_ids=(0, 2, 3, *range(150, 160)) if dice.randint(2) else None,
        num_slots=int(dice.randint(1, length + 10)) if dice.randint(2) else None,
        strategy="token" if kind == "own" else kind,
        word_starts=starts,
        select=every_third_word if kind == "own" else None,
        has_dice=bool(dice.randint(2)),
    )


def drawn_documents(dice: np.random.RandomState, length: int) -> list[int]:
    """Lengths of the documents of a row, in all at most `length`; none in an empty row."""
    left = int(dice.choice([0, length, dice.randint(1, length + 1)]))
    lengths = []
    while left:
        lengths.append(int(min(left, dice.randint(1, 2 * length // 3 + 2))))
        left -= lengths[-1]
    return lengths


def drawn_rows(dice: np.random.RandomState, num_rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """token_ids and document_ids, int32 (num_rows, length)."""
    token_ids, document_ids = np.zeros((2, num_rows, length), np.int32)
    for row in range(num_rows):
        place = 0
        for number, size in enumerate(drawn_documents(dice, length)):
            token_ids[row, place : place + size] = dice.randint(5, VOCABULARY_SIZE, size)
            token_ids[row, place] = 2
            token_ids[row, place + size - 1] = 3
            document_ids[row, place : place + size] = number + 1
            place += size
    return token_ids, document_ids


def digest_of(results: list[dict[str, tf.Tensor]]) -> str:
    digest = hashlib.sha256()
    for result in results:
        for name in sorted(result):
            value = result[name].numpy()
            digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("kind", [*STRATEGIES, "own"])
def test_masks_of_every_kind_are_pinned(kind: str) -> None:
    dice = np.random.RandomState(len(kind))
    results = []
    for _ in range(NUM_CASES):
        length, num_rows = int(dice.choice([2, 8, 33, 128, 300])), int(dice.randint(1, 40))
        rule = drawn_rule(dice, kind, length)
        token_ids, document_ids = map(tf.constant, drawn_rows(dice, num_rows, length))
        row_ids = tf.constant(dice.randint(0, 2**40, num_rows, np.int64))
        epochs = tf.constant(dice.randint(0, 9, num_rows, np.int64)) if dice.randint(2) else tf.constant(3, tf.int64)
        documents = document_ids if dice.randint(3) else None
        rate = tf.constant(rule.mask_selection_rate / 2, tf.float64) if dice.randint(2) else None
        results.append(mask_rows(token_ids, row_ids, epochs, rule, documents, rate))
    assert digest_of(results) == MASKS[kind]


def drawn_record(dice: np.random.RandomState, length: int, has_segments: bool) -> bytes:
    documents = drawn_documents(dice, length)
    if not documents:
        return b""
    features = {
        "token_ids": dice.randint(0, VOCABULARY_SIZE, sum(documents)).tolist(),
        "document_lengths": documents,
        "row_id": [int(dice.randint(0, 2**40, dtype=np.int64))],
    }
    if has_segments:
        features["segment_lengths"] = [int(dice.randint(0, size + 1)) for size in documents]
        features["pair_labels"] = [int(dice.randint(-1, 2)) for _ in documents]
    lists = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=values)) for name, values in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)


@pytest.mark.parametrize("has_segments", [False, True])
def test_what_is_derived_of_records_is_pinned(has_segments: bool) -> None:
    dice = np.random.RandomState(7)
    results = []
    for _ in range(NUM_CASES):
        length = int(dice.choice([2, 8, 33, 128]))
        records = [drawn_record(dice, length, has_segments) for _ in range(dice.randint(1, 40))]
        results.append(parse_rows(tf.constant(records), RecordFormat(length, 1, has_segments)))
    assert digest_of(results) == DERIVED[has_segments]
