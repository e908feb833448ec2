"""Scores by relative position against a slow loop, of all queries and of a chunk of them, and attention in chunks of them."""

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.layers.chunked_attention import chunked_attention
from clozekit.model.layers.relative_scores import RelativeScores, distance_rows

KEYS, SIZE, SPAN = 11, 4, 3


def scores_of(kinds: str) -> RelativeScores:
    dice = np.random.default_rng(1)
    tables = [tf.constant(dice.standard_normal((2, 2 * SPAN, SIZE)), tf.float64) for _ in range(2)]
    return RelativeScores(
        distance_rows(SPAN, 6), *(t if kind in kinds else None for kind, t in zip("kq", tables, strict=True))
    )


def by_hand(scores: RelativeScores, query: np.ndarray, key: np.ndarray, first: int) -> np.ndarray:
    most = len(scores.rows) // 2
    found = np.zeros((query.shape[0], 2, query.shape[2], key.shape[2]))
    for i in range(query.shape[2]):
        for j in range(key.shape[2]):
            row = scores.rows[np.clip(first + i - j, -most, most) + most]
            if scores.position_keys is not None:
                found[:, :, i, j] += np.einsum("bnd,nd->bn", query[:, :, i], scores.position_keys.numpy()[:, row])
            if scores.position_queries is not None:
                found[:, :, i, j] += np.einsum("bnd,nd->bn", key[:, :, j], scores.position_queries.numpy()[:, row])
    return found


@pytest.mark.parametrize("kinds", ["kq", "k", "q"])
@pytest.mark.parametrize(("num_queries", "first"), [(KEYS, None), (4, 0), (4, 8), (5, 5)])
def test_scores_are_those_of_a_slow_loop(num_queries: int, first: int | None, kinds: str) -> None:
    dice = np.random.default_rng(0)
    query, key = (dice.standard_normal((3, 2, length, SIZE)) for length in (num_queries, KEYS))
    scores = scores_of(kinds)
    found = scores.of(tf.constant(query), tf.constant(key), None if first is None else tf.constant(first))
    np.testing.assert_allclose(found, by_hand(scores, query, key, first or 0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kinds", ["kq", "k", "q"])
def test_attention_in_chunks_has_the_numbers_and_gradients_of_the_formula_in_full(kinds: str) -> None:
    dice = np.random.default_rng(0)
    inputs = [tf.constant(dice.standard_normal((3, 2, KEYS, SIZE))) for _ in range(3)]
    weights = tf.constant(dice.standard_normal((3, 2, KEYS, SIZE)))
    documents = tf.constant([[1] * 4 + [2] * 6 + [0], [1] * KEYS, [1] * 2 + [2] * 9])
    scores = scores_of(kinds)
    variables = [*inputs, *scores.tables()]

    def in_full() -> tf.Tensor:
        query, key, value = inputs
        same = documents[:, None, :, None] == documents[:, None, None, :]
        found = tf.matmul(query, key, transpose_b=True) + scores.of(query, key)
        return tf.matmul(tf.nn.softmax(tf.where(same, found, found - 1e9)), value)

    results = []
    for attend in (in_full, lambda: chunked_attention(*inputs, None, documents, None, chunk=4, relative=scores)):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            attended = attend()
            loss = tf.reduce_sum(attended * weights)
        results.append([attended, *map(tf.convert_to_tensor, tape.gradient(loss, variables))])
    for ours, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


def test_near_distances_have_rows_of_their_own_and_far_ones_share() -> None:
    assert distance_rows(None, 3).tolist() == [0, 1, 2, 3, 4, 5, 5]
    rows = distance_rows(8, 64)
    middle = len(rows) // 2
    assert rows[middle - 4 : middle + 5].tolist() == list(range(4, 13))
    assert (rows[0], rows[-1]) == (0, 15)
    assert (np.diff(rows) >= 0).all()
