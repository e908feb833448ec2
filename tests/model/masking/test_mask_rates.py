"""The rate of masks over a run: a straight line by steps, the same masks as a fixed rate gives."""

import dataclasses

import pytest
import tensorflow as tf

from clozekit.model.masking.mask_rates import MaskRates
from clozekit.model.masking.mask_rows import mask_rows
from clozekit.model.masking.masking_rule import MaskingRule

RULE = MaskingRule(mask_token_id=4, vocabulary_size=100, special_token_ids=(0, 1, 2, 3, 4), mask_selection_rate=0.3)


@pytest.mark.parametrize(
    ("rates", "step", "expected"),
    [
        (MaskRates(0.3, 0.15, 101), 0, 0.3),
        (MaskRates(0.3, 0.15, 101), 50, 0.225),
        (MaskRates(0.3, 0.15, 101), 100, 0.15),
        (MaskRates(0.1, 0.4, 4), 2, 0.3),
        (MaskRates(0.3, 0.15, 1), 0, 0.3),
    ],
)
def test_the_rate_is_a_line_from_the_first_step_to_the_last(rates: MaskRates, step: int, expected: float) -> None:
    assert float(rates.at(tf.constant(step, tf.int64))) == pytest.approx(expected, abs=1e-12)
    assert rates.highest == max(rates.first, rates.final)


@pytest.mark.parametrize("strategy", ["token", "whole_word"])
def test_a_lower_rate_masks_what_a_rule_of_that_rate_does(strategy: str) -> None:
    rule = dataclasses.replace(RULE, strategy=strategy, word_starts=[True] * 100)
    ids, rows = tf.reshape(tf.range(5, 85), [4, 20]), tf.range(4, dtype=tf.int64)
    epoch = tf.constant(0, tf.int64)
    lower = mask_rows(ids, rows, epoch, rule, rate=tf.constant(0.1, tf.float64))
    fixed = mask_rows(ids, rows, epoch, dataclasses.replace(rule, mask_selection_rate=0.1))
    assert lower["mask_positions"].shape == (4, 6)
    assert lower["mask_weights"].numpy().sum(axis=1).tolist() == [2.0] * 4
    assert (lower["token_ids"] == fixed["token_ids"]).numpy().all()
    assert (lower["mask_positions"][:, :2] == fixed["mask_positions"]).numpy().all()
    assert lower["mask_overflow"].numpy().tolist() == [0] * 4
