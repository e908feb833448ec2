"""Masking: exact counts, forced rates, never a special token, a function of seed, epoch and row alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.masking.mask_rows import mask_rows
from clozekit.model.masking.masking_rule import MaskingRule, num_predictions
from clozekit.tokenizers.common.errors import InputError

VOCABULARY_SIZE = 1000
SPECIAL = (0, 1, 2, 3, 4)
OPTIONS = MaskingRule(mask_token_id=4, vocabulary_size=VOCABULARY_SIZE, special_token_ids=SPECIAL)
LENGTH = 128


def rows_of(num_rows: int, seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows [CLS] tokens [SEP] [PAD]... with 1 to LENGTH - 2 tokens, and their ids."""
    dice = np.random.default_rng(seed)
    token_ids = np.zeros((num_rows, LENGTH), np.int32)
    for row in token_ids:
        used = int(dice.integers(1, LENGTH - 1))
        row[: used + 2] = [2, *dice.integers(5, VOCABULARY_SIZE, used), 3]
    return tf.constant(token_ids), tf.range(num_rows, dtype=tf.int64)


def masked(options: MaskingRule, num_rows: int = 64, epoch: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    token_ids, row_ids = rows_of(num_rows)
    result = mask_rows(token_ids, row_ids, tf.constant(epoch, tf.int64), options)
    return token_ids.numpy(), {name: value.numpy() for name, value in result.items()}


def test_exactly_the_share_of_each_row_is_selected() -> None:
    token_ids, result = masked(OPTIONS)
    selectable = (token_ids >= 5).sum(axis=1)
    assert result["mask_weights"].sum(axis=1).tolist() == np.ceil(selectable * 0.15 - 1e-9).tolist()
    assert result["mask_positions"].shape == (64, num_predictions(LENGTH, 0.15)) == (64, 20)


def test_the_slots_name_what_was_there() -> None:
    token_ids, result = masked(OPTIONS)
    used = result["mask_weights"] == 1
    originals = np.take_along_axis(token_ids, result["mask_positions"], axis=1)
    assert (result["mask_ids"][used] == originals[used]).all()
    assert (result["mask_ids"][used] >= 5).all()
    assert (result["mask_ids"][~used] == 0).all()
    assert (result["mask_positions"][~used] == 0).all()
    for positions, weights in zip(result["mask_positions"], result["mask_weights"], strict=True):
        row = positions[weights == 1]
        assert (np.diff(row) > 0).all()
    changed = result["token_ids"] != token_ids
    selected = np.zeros_like(changed)
    np.put_along_axis(selected, result["mask_positions"], used, axis=1)
    selected[:, 0] = False
    assert not (changed & ~selected).any()


@pytest.mark.parametrize(
    ("mask_rate", "random_rate", "expected"), [(1.0, 0.0, "mask"), (0.0, 1.0, "random"), (0.0, 0.0, "same")]
)
def test_forced_rates(mask_rate: float, random_rate: float, expected: str) -> None:
    options = dataclasses.replace(
        OPTIONS, mask_selection_rate=1.0, mask_token_rate=mask_rate, random_token_rate=random_rate
    )
    token_ids, result = masked(options)
    ordinary = token_ids >= 5
    assert (result["token_ids"][~ordinary] == token_ids[~ordinary]).all()
    shown = result["token_ids"][ordinary]
    if expected == "mask":
        assert (shown == 4).all()
    elif expected == "same":
        assert (shown == token_ids[ordinary]).all()
    else:
        assert (shown >= 5).all()
        # One in 995 replacements is the token itself.
        assert (shown == token_ids[ordinary]).mean() < 0.01
        assert len(np.unique(shown)) > 900


def test_rates_hold_on_a_million_positions() -> None:
    token_ids = tf.constant(np.random.default_rng(0).integers(5, VOCABULARY_SIZE, (8192, LENGTH)), tf.int32)
    result = mask_rows(token_ids, tf.range(8192, dtype=tf.int64), tf.constant(3, tf.int64), OPTIONS)
    used = result["mask_weights"].numpy() == 1
    assert used.sum() == 8192 * 20
    shown = tf.gather(result["token_ids"], result["mask_positions"], batch_dims=1).numpy()[used]
    originals = result["mask_ids"].numpy()[used]
    # Standard errors of these shares are about 0.001.
    assert abs((shown == 4).mean() - 0.8) < 0.004
    assert abs((shown == originals).mean() - 0.1) < 0.004
    # Every position is selected equally often: 20/128 with a standard error of 0.004 each.
    share = np.bincount(result["mask_positions"].numpy()[used], minlength=LENGTH) / 8192
    assert abs(share - 20 / 128).max() < 0.02


@pytest.mark.slow
def test_masks_are_a_function_of_seed_epoch_and_row() -> None:
    token_ids, row_ids = rows_of(64)
    epoch = tf.constant(5, tf.int64)
    whole = mask_rows(token_ids, row_ids, epoch, OPTIONS)
    order = np.random.default_rng(1).permutation(64)
    again = mask_rows(tf.gather(token_ids, order), tf.gather(row_ids, order), epoch, OPTIONS)
    part = mask_rows(token_ids[10:20], row_ids[10:20], tf.fill([10], epoch), OPTIONS)
    in_dataset = next(
        iter(
            tf.data.Dataset.from_tensors((token_ids, row_ids)).map(
                lambda ids, rows: mask_rows(ids, rows, epoch, OPTIONS)
            )
        )
    )
    for name, value in whole.items():
        assert (again[name].numpy() == value.numpy()[order]).all()
        assert (part[name].numpy() == value.numpy()[10:20]).all()
        assert (in_dataset[name].numpy() == value.numpy()).all()
    for options, other_epoch in ((OPTIONS, 6), (dataclasses.replace(OPTIONS, seed=1), 5)):
        other = mask_rows(token_ids, row_ids, tf.constant(other_epoch, tf.int64), options)
        assert (other["mask_positions"].numpy() != whole["mask_positions"].numpy()).mean() > 0.5


def test_pinned_masks() -> None:
    # A change of these numbers would break every run that is resumed with a newer Clozekit. From
    # `pytest tests/model/masking/test_mask_rows.py -k pinned` when the hash was fixed.
    token_ids = tf.reshape(tf.range(5, 5 + 32, dtype=tf.int32), (2, 16))
    result = mask_rows(token_ids, tf.constant([7, 2**40], tf.int64), tf.constant(1, tf.int64), OPTIONS)
    assert result["mask_positions"].numpy().tolist() == [[1, 13, 15], [1, 8, 15]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask_selection_rate": 1.2}, r"mask_selection_rate must be a rate from 0 to 1, got 1\.2"),
        ({"mask_token_rate": 0.8, "random_token_rate": 0.3}, r"must be at most 1, got 0\.8 \+ 0\.3"),
    ],
)
def test_rates_are_checked(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(OPTIONS, **fields)  # type: ignore[arg-type]


def test_slots_and_unselectable_ids_can_be_given() -> None:
    options = dataclasses.replace(
        OPTIONS, mask_selection_rate=1.0, num_slots=7, unselectable_token_ids=(0, 2, 3, *range(500, VOCABULARY_SIZE))
    )
    token_ids, result = masked(options)
    used = result["mask_weights"] == 1
    assert result["mask_positions"].shape == (64, 7)
    may_be = ((token_ids > 3) & (token_ids < 500)).sum(axis=1)
    assert used.sum(axis=1).tolist() == np.minimum(may_be, 7).tolist()
    assert (result["mask_ids"][used] < 500).all()
    # More slots than the row has positions.
    wide = dataclasses.replace(OPTIONS, num_slots=LENGTH + 5)
    assert masked(wide)[1]["mask_positions"].shape == (64, LENGTH + 5)
