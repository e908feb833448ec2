"""KerasHub's layers under `clozekit.model.layers`: shapes, settings there and back, masks."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.layers import (
    MaskedLMHead,
    MaskedLMMaskGenerator,
    PositionEmbedding,
    TokenAndPositionEmbedding,
    TransformerEncoder,
)
from clozekit.tokenizers.common.errors import InputError

HIDDEN = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
IDS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])


@pytest.mark.parametrize(
    "layer, inputs, shape",
    [
        (MaskedLMHead(vocabulary_size=9, activation="softmax", bias_initializer="ones"), (HIDDEN, IDS[::-1, 3:] % 5), (2, 2, 9)),
        (TransformerEncoder(16, 2, dropout=0.1, normalize_first=True, bias_initializer="ones"), (HIDDEN,), (2, 5, 8)),
        (TokenAndPositionEmbedding(9, 6, 4, tie_weights=False, mask_zero=True), (IDS,), (2, 5, 4)),
        (PositionEmbedding(6), (HIDDEN,), (2, 5, 8)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_settings_there_and_back(layer: keras.layers.Layer, inputs: Any, shape: tuple[int, ...]) -> None:
    expected = layer(*inputs)
    assert expected.shape == shape
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert other.get_config() == layer.get_config()
    other(*inputs)
    other.set_weights(layer.get_weights())
    np.testing.assert_array_equal(other(*inputs), expected)


def test_a_head_with_the_table_of_its_embedding() -> None:
    table = keras.layers.ReversibleEmbedding(9, 8)
    table.build((None, None))
    head = MaskedLMHead(token_embedding=table)
    assert head(HIDDEN, IDS[:, :3] % 5).shape == (2, 3, 9)
    with pytest.raises(InputError, match="needs vocabulary_size or token_embedding, got neither"):
        MaskedLMHead()
    with pytest.raises(InputError, match="must be the rows of token_embedding, got 10 and 9"):
        MaskedLMHead(vocabulary_size=10, token_embedding=table)


def test_masks_of_the_encoder_block() -> None:
    block = TransformerEncoder(16, 2)
    padding = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected, scores = block(HIDDEN, padding_mask=padding, return_attention_scores=True)
    assert scores.shape == (2, 2, 5, 5)
    assert np.asarray(scores)[0, :, :, 3:].max() == 0
    np.testing.assert_allclose(np.asarray(scores).sum(axis=-1), 1, rtol=1e-5)
    both = np.broadcast_to(padding[:, None, :], (2, 5, 5))
    np.testing.assert_allclose(block(HIDDEN, attention_mask=both), expected, atol=1e-6)
    np.testing.assert_allclose(block(HIDDEN, padding_mask=padding, attention_mask=both), expected, atol=1e-6)
    # Keras's own mask, of the layer before.
    embedding = TokenAndPositionEmbedding(9, 5, 8, mask_zero=True)
    hidden = embedding(IDS)
    np.testing.assert_allclose(block(hidden), block(hidden, padding_mask=IDS != 0), atol=1e-6)
    assert np.abs(np.asarray(block(hidden)) - np.asarray(block(hidden, padding_mask=IDS == IDS)))[0].max() > 1e-3


def test_positions_from_a_later_start() -> None:
    layer = PositionEmbedding(8)
    whole = np.asarray(layer(np.ones((1, 8, 4), "float32")))
    np.testing.assert_array_equal(layer(np.ones((1, 3, 4), "float32"), start_index=5), whole[:, 5:])
    with pytest.raises(ValueError, match="at most 8 tokens"):
        layer(np.ones((1, 4, 4), "float32"), start_index=5)


def test_the_mask_generator() -> None:
    masker = MaskedLMMaskGenerator(20, 0.5, 4, mask_selection_length=3, mask_token_rate=1.0, random_token_rate=0.0)
    expected = {"token_ids": (2, 5), "mask_positions": (2, 3), "mask_ids": (2, 3), "mask_weights": (2, 3)}
    [in_graph] = tf.data.Dataset.from_tensor_slices(IDS).batch(2).map(masker)
    for masked in (masker(IDS), in_graph):
        assert {name: part.shape for name, part in masked.items()} == expected
        np.testing.assert_array_equal(np.sum(masked["mask_weights"], axis=1), [2, 3])
        taken = np.take_along_axis(IDS, np.asarray(masked["mask_positions"]), axis=1)
        np.testing.assert_array_equal(masked["mask_ids"], np.where(np.asarray(masked["mask_weights"]) > 0, taken, 0))
    alone = masker(IDS[1])
    assert {name: part.shape for name, part in alone.items()} == {name: shape[1:] for name, shape in expected.items()}
    free = MaskedLMMaskGenerator(20, 0.5, 4, mask_token_rate=1.0, random_token_rate=0.0)
    ragged = free([[1, 2, 3], [4, 5, 6, 7, 8]])
    assert [len(row) for row in ragged["token_ids"]] == [3, 5]
    assert [len(row) for row in ragged["mask_ids"]] == [2, 3]
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(free))
    assert other.get_config() == free.get_config()
    with pytest.raises(InputError, match="Mask token id should be in range"):
        MaskedLMMaskGenerator(4, 0.5, 4)


def test_random_replacements_stay_in_the_vocabulary() -> None:
    masker = MaskedLMMaskGenerator(7, 1.0, 4, mask_selection_length=500, mask_token_rate=0.0, random_token_rate=1.0)
    shown = np.asarray(masker(np.ones((1, 500), "int32"))["token_ids"])
    assert set(shown[0].tolist()) == set(range(7))
