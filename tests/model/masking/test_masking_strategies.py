"""Whole words, spans and n-grams: masked whole, with the lengths of their papers, never across documents."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.masking.mask_rows import mask_rows
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.masking.select_units import (
    FILL_UNITS,
    MAX_PASSES,
    SPAN_LENGTHS,
    join_words,
    select_units,
    span_lengths,
)
from clozekit.tokenizers.common.errors import InputError

SPECIAL = (0, 1, 2, 3, 4)
VOCABULARY_SIZE = 1000
# Every third ordinary id goes on with the word before it.
STARTS = np.array([i >= 5 and i % 3 != 0 for i in range(VOCABULARY_SIZE)])
OPTIONS = MaskingRule(4, VOCABULARY_SIZE, SPECIAL, word_starts=STARTS, strategy="whole_word")
LENGTH = 128


def packed_rows(num_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of documents [CLS] tokens [SEP], and one in which documents have no special tokens between them."""
    dice = np.random.default_rng(seed)
    token_ids, document_ids = np.zeros((2, num_rows, LENGTH), np.int32)
    for row in range(num_rows):
        place, document = 0, 1
        while (length := int(dice.integers(3, 40))) <= LENGTH - place:
            ids = dice.integers(5, VOCABULARY_SIZE, length)
            if row % 2:
                ids[0], ids[-1] = 2, 3
            token_ids[row, place : place + length] = ids
            document_ids[row, place : place + length] = document
            place, document = place + length, document + 1
    return token_ids, document_ids


def masked(
    options: MaskingRule, num_rows: int = 64
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """token_ids, document_ids, selected (bool), all (B, T), and what `mask_rows` gives."""
    token_ids, document_ids = packed_rows(num_rows)
    row_ids = tf.range(num_rows, dtype=tf.int64)
    result = mask_rows(tf.constant(token_ids), row_ids, tf.constant(0, tf.int64), options, tf.constant(document_ids))
    values = {name: value.numpy() for name, value in result.items()}
    selected = np.zeros(token_ids.shape, bool)
    rows, slots = np.nonzero(values["mask_weights"])
    selected[rows, values["mask_positions"][rows, slots]] = True
    return token_ids, document_ids, selected, values


def words_of(token_ids: np.ndarray, document_ids: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of the words of one row, by a slow loop; specials belong to none."""
    words: list[list[int]] = []
    for place, token in enumerate(token_ids):
        ordinary = token >= 5
        goes_on = (
            ordinary
            and not STARTS[token]
            and words
            and words[-1][1] == place
            and document_ids[place] == document_ids[place - 1]
        )
        if goes_on:
            words[-1][1] = place + 1
        elif ordinary:
            words.append([place, place + 1])
    return [(begin, end) for begin, end in words]


@pytest.mark.parametrize("strategy", ["whole_word", "span", "ngram"])
def test_words_are_masked_whole_and_to_the_rate(strategy: str) -> None:
    token_ids, document_ids, selected, values = masked(dataclasses.replace(OPTIONS, strategy=strategy))
    missing = 0
    for row in range(len(token_ids)):
        for begin, end in words_of(token_ids[row], document_ids[row]):
            assert selected[row, begin:end].all() or not selected[row, begin:end].any()
        wanted = int(np.ceil((token_ids[row] >= 5).sum() * 0.15 - 1e-9))
        assert selected[row].sum() <= wanted
        missing += wanted - selected[row].sum()
    assert not selected[token_ids < 5].any()
    # Some words are too long for the last places.
    assert missing <= 0.02 * selected.sum()
    assert (values["mask_overflow"] == 0).all()


@pytest.mark.parametrize("strategy", ["span", "ngram"])
def test_lengths_of_spans_are_those_of_the_paper(strategy: str) -> None:
    rates = SPAN_LENGTHS[strategy]
    bits = tf.constant(np.random.default_rng(0).integers(0, 2**31, (1000, 1000)), tf.int32)
    counts = np.bincount(span_lengths(bits, rates).numpy().ravel(), minlength=len(rates) + 1)
    assert counts[0] == 0
    # Standard errors are below 0.0005.
    assert abs(counts[1:] / 1_000_000 - rates).max() < 0.002
    if strategy == "span":
        # The mean that SpanBERT's paper gives.
        assert np.dot(rates, range(1, 11)) == pytest.approx(3.8, abs=0.02)
    else:
        assert rates == pytest.approx((6 / 11, 3 / 11, 2 / 11))


def test_spans_are_words_in_a_row_of_one_document() -> None:
    word_begins = tf.constant([[1, 0, 1, 1, 1, 0, 1, 1, 1, 1]]) > 0
    lengths = tf.constant([[2, 3, 1, 5, 1, 1, 1, 1, 1, 1]])
    selectable = tf.constant([[1, 1, 1, 1, 1, 1, 1, 0, 1, 1]]) > 0
    # Words: (0 1) (2) (3) (4 5) (6) (7, special) (8) (9). Spans: words 0-1, 2-4, 5, 6-.
    begins = join_words(word_begins, lengths, selectable, None)
    assert begins.numpy().astype(int).tolist() == [[1, 0, 0, 1, 0, 0, 0, 1, 1, 0]]
    documents = tf.constant([[1, 1, 1, 1, 1, 1, 2, 2, 2, 2]])
    begins = join_words(word_begins, lengths, selectable, documents)
    assert begins.numpy().astype(int).tolist() == [[1, 0, 0, 1, 0, 0, 1, 1, 1, 0]]


def drawn_by_a_slow_loop(sizes: list[int], order: list[int], wanted: int) -> list[int]:
    """The numbers of the units that are taken, ascending."""
    taken, left, place = [], wanted, 0
    while place < len(order) and sizes[order[place]] <= left:
        taken.append(order[place])
        left -= sizes[order[place]]
        place += 1
    others = order[place : place + FILL_UNITS]
    for _ in range(MAX_PASSES):
        room, stopped = left, False
        for unit in others:
            if unit not in taken and sizes[unit] <= room and not stopped:
                stopped = sizes[unit] > left
                if not stopped:
                    taken.append(unit)
                    left -= sizes[unit]
    return sorted(taken)


@pytest.mark.parametrize(("share_of_short", "sizes_of_others"), [(0.01, (4, 12)), (0.3, (4, 12)), (0.0, (1, 90))])
def test_room_is_filled_as_a_slow_loop_fills_it(share_of_short: float, sizes_of_others: tuple[int, int]) -> None:
    # With few short units what fits is often further down than is looked; with many a row needs many; units of all sizes need
    # more passes than there are.
    dice = np.random.default_rng(int(share_of_short * 100))
    num_rows, length = 90, 2000
    begins, scores = np.zeros((num_rows, length), bool), np.zeros((num_rows, length), np.int32)
    wanted = dice.integers(0, length // 2, num_rows)
    expected = []
    for row in range(num_rows):
        sizes: list[int] = []
        while (left := length - sum(sizes)) > 0:
            is_short = dice.random() < share_of_short
            sizes.append(int(min(left, 1 if is_short else dice.integers(*sizes_of_others))))
        places = np.cumsum([0, *sizes[:-1]])
        begins[row, places] = True
        scores[row] = dice.permutation(length) * 2048 + np.arange(length)
        order = np.argsort(-scores[row, places]).tolist()
        taken = drawn_by_a_slow_loop(sizes, order, int(wanted[row]))
        expected.append([(int(places[unit]), sizes[unit]) for unit in taken])
    all_of_them = tf.ones([num_rows, length], tf.bool)
    units = select_units(tf.constant(begins), all_of_them, tf.constant(scores), tf.constant(wanted, tf.int32))
    assert list(zip(units.begins.numpy(), units.sizes.numpy(), strict=True)) == [
        pair for row in expected for pair in row
    ]
    assert units.found.numpy().tolist() == [sum(size for _, size in row) for row in expected]


def test_room_is_filled_in_so_many_passes_and_no_more() -> None:
    # Of 63 wanted the first unit fits nowhere. A pass takes one and ends at the next; the last unit would fit in a sixth.
    sizes = [64, 32, 40, 16, 20, 8, 10, 4, 5, 2, 3, 1]
    places = np.cumsum([0, *sizes[:-1]])
    begins, scores = np.zeros((1, sum(sizes)), bool), np.arange(sum(sizes))[None]
    begins[0, places] = True
    scores[0, places] += np.arange(len(sizes), 0, -1) * 256
    all_of_them = tf.ones(begins.shape, tf.bool)
    units = select_units(tf.constant(begins), all_of_them, tf.constant(scores, tf.int32), tf.constant([63]))
    assert MAX_PASSES == 5
    assert (units.sizes.numpy().tolist(), units.found.numpy().tolist()) == ([32, 16, 8, 4, 2], [62])


def test_a_span_is_replaced_as_one() -> None:
    # One document of single-token words a row, so that runs of selected positions are spans or neighbours.
    token_ids = np.random.default_rng(0).choice(np.flatnonzero(STARTS), (256, LENGTH)).astype(np.int32)
    row_ids = tf.range(256, dtype=tf.int64)
    agreeing = {}
    for strategy in ("span", "ngram"):
        options = dataclasses.replace(OPTIONS, strategy=strategy, mask_selection_rate=0.05)
        result = mask_rows(tf.constant(token_ids), row_ids, tf.constant(0, tf.int64), options)
        is_mask = result["token_ids"].numpy() == 4
        positions, used = result["mask_positions"].numpy(), result["mask_weights"].numpy() == 1
        pairs = [
            (is_mask[row, a], is_mask[row, b])
            for row in range(256)
            for a, b in zip(positions[row][used[row]], positions[row][used[row]][1:], strict=False)
            if b == a + 1
        ]
        agreeing[strategy] = np.mean([a == b for a, b in pairs])
    # By chance neighbours agree 0.8 * 0.8 + 0.2 * 0.2 = 68% of the time.
    assert agreeing["span"] > 0.95
    assert 0.55 < agreeing["ngram"] < 0.8


@pytest.mark.parametrize("strategy", ["token", "whole_word", "span", "ngram"])
def test_rates_of_0_and_1(strategy: str) -> None:
    none = masked(dataclasses.replace(OPTIONS, strategy=strategy, mask_selection_rate=0.0))
    assert none[2].sum() == 0
    assert (none[3]["token_ids"] == none[0]).all()
    token_ids, _, selected, values = masked(
        dataclasses.replace(
            OPTIONS, strategy=strategy, mask_selection_rate=1.0, mask_token_rate=1.0, random_token_rate=0.0
        )
    )
    assert (selected == (token_ids >= 5)).all()
    assert (values["token_ids"] == np.where(token_ids >= 5, 4, token_ids)).all()


@pytest.mark.parametrize("strategy", ["token", "whole_word", "span", "ngram"])
def test_shares_on_a_million_positions(strategy: str) -> None:
    options = dataclasses.replace(OPTIONS, strategy=strategy, mask_selection_rate=0.3)
    token_ids, _, selected, values = masked(options, num_rows=8192)
    selectable = (token_ids >= 5).sum()
    # 0.3 of each row, rounded up for tokens, and rounded down to what fits for the others.
    assert selected.sum() / selectable == pytest.approx(0.3, abs=0.006)
    shown, originals = values["token_ids"][selected], token_ids[selected]
    # A span is one throw: the standard error is about 0.002.
    assert (shown == 4).mean() == pytest.approx(0.8, abs=0.008)
    assert (shown == originals).mean() == pytest.approx(0.1, abs=0.006)
    replaced = shown[(shown != 4) & (shown != originals)]
    assert replaced.min() >= 5
    assert (values["token_ids"][~selected] == token_ids[~selected]).all()


def test_slots_that_overflow_are_counted() -> None:
    for strategy in ("token", "whole_word", "span", "ngram"):
        token_ids, _, selected, values = masked(dataclasses.replace(OPTIONS, strategy=strategy, num_slots=7))
        asked = np.ceil((token_ids >= 5).sum(axis=1) * 0.15 - 1e-9)
        assert values["mask_positions"].shape == (64, 7)
        assert (selected.sum(axis=1) <= 7).all()
        assert (values["mask_overflow"] == np.maximum(asked - 7, 0)).all()
    assert values["mask_overflow"].sum() > 0


@pytest.mark.parametrize("strategy", ["whole_word", "span", "ngram"])
def test_masks_are_a_function_of_the_row(strategy: str) -> None:
    options = dataclasses.replace(OPTIONS, strategy=strategy)
    token_ids, document_ids = map(tf.constant, packed_rows(32))
    rows, epoch = tf.range(32, dtype=tf.int64), tf.constant(5, tf.int64)
    whole = mask_rows(token_ids, rows, epoch, options, document_ids)
    part = mask_rows(token_ids[9:20], rows[9:20], tf.fill([11], epoch), options, document_ids[9:20])
    assert all((part[name].numpy() == value.numpy()[9:20]).all() for name, value in whole.items())
    other = mask_rows(token_ids, rows, epoch + 1, options, document_ids)
    assert (other["mask_positions"].numpy() != whole["mask_positions"].numpy()).mean() > 0.5


def test_validation_masks_are_those_of_single_tokens_whatever_the_run_masks() -> None:
    expected = dataclasses.replace(OPTIONS, strategy="token").for_validation(0.15)
    for strategy in ("whole_word", "span", "ngram"):
        options = dataclasses.replace(OPTIONS, strategy=strategy, seed=9, num_slots=3, mask_selection_rate=0.3)
        options = dataclasses.replace(options, mask_token_rate=1.0, random_token_rate=0.0)
        assert options.for_validation(0.15) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strategy": "words"}, "must be one of token, whole_word, span, ngram, got 'words'"),
        ({"word_starts": None}, "whole_word needs word_starts"),
    ],
)
def test_strategies_are_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(OPTIONS, **fields)  # type: ignore[arg-type]
