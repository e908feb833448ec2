"""Dropout by a hash: rates, scale, what the mask depends on, the same compiled or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.common.hashing import hash_places
from clozekit.model.layers.dropout import Dropout

SHAPE = (64, 128, 32)


def dropped(rate: float, seed: list[int]) -> np.ndarray:
    layer = Dropout(rate)
    layer.seed_generator.state.assign(seed)
    return layer(tf.ones(SHAPE), training=True).numpy()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_stated_share_is_dropped_and_the_rest_scaled(rate: float) -> None:
    values = dropped(rate, [3, 256])
    size = values.size
    # Five standard deviations of so many coins.
    assert abs((values == 0).sum() - rate * size) < 5 * np.sqrt(rate * (1 - rate) * size)
    np.testing.assert_allclose(values[values != 0], 1 / (1 - rate), rtol=1e-6)


def test_nothing_is_dropped_without_training() -> None:
    values = tf.random.stateless_normal(SHAPE, [0, 0])
    np.testing.assert_array_equal(Dropout(0.5)(values, training=False), values)


def test_masks_repeat_with_their_seed_and_share_nothing_with_those_of_others() -> None:
    seeds = [[layer, step * 256 + use] for layer in range(4) for step in range(3) for use in range(2)]
    masks = np.stack([dropped(0.5, seed).ravel() > 0 for seed in seeds]).astype(np.float64)
    again = np.stack([dropped(0.5, seed).ravel() > 0 for seed in seeds])
    np.testing.assert_array_equal(masks, again)
    correlations = np.corrcoef(masks)[np.triu_indices(len(seeds), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(masks.shape[1])


def test_neighbours_are_dropped_independently() -> None:
    kept = (dropped(0.5, [7, 0]).ravel() > 0).astype(np.float64)
    for distance in (1, 2, 32, 4096):
        correlation = np.corrcoef(kept[:-distance], kept[distance:])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(kept.size), distance


def test_every_use_of_a_layer_draws_anew() -> None:
    layer = Dropout(0.5)
    first, second = (layer(tf.ones(SHAPE), training=True).numpy() for _ in range(2))
    assert 0.45 < (first == second).mean() < 0.55


def test_the_gradient_is_the_mask_compiled_or_not() -> None:
    layer = Dropout(0.3)

    def value_and_gradient(x: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with keras.StatelessScope([(layer.seed_generator.state, seed)]), tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x, training=True)
        return value, tape.gradient(value, x)

    seed = tf.constant([11, 512], layer.seed_generator.state.dtype)
    plain = tf.function(value_and_gradient)(tf.ones(SHAPE), seed)
    compiled = tf.function(value_and_gradient, jit_compile=True)(tf.ones(SHAPE), seed)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_array_equal(one, plain[0])
        np.testing.assert_array_equal(one, other)


def test_the_hash_is_pinned() -> None:
    # Another hash would let runs that go on drop other units: python -c "...hash_places([7, 256], 4)"; a change belongs
    # into the changelog.
    known = [190866155, 780122126, 105594415, 863070911]
    for rows, columns in ((1, 4), (2, 2), (4, 1)):
        bits = hash_places(tf.constant([7, 256]), rows, columns)
        assert bits.shape == (rows, columns) and bits.numpy().ravel().tolist() == known
