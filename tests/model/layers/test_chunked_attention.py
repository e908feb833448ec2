"""Attention of long rows, a chunk of queries at a time: the numbers, gradients and dropped places of the formula in full."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from long_variants import FULL

from clozekit.model.layers import transformer_layers
from clozekit.model.layers.chunked_attention import chunked_attention
from clozekit.model.layers.transformer_layers import SelfAttention, document_positions

RANDOM = np.random.default_rng(5)
# Documents of a packed row, and padding.
DOCUMENTS = np.repeat([[1, 2, 3, 0], [1, 1, 2, 2]], [5, 12, 3, 10], axis=1).astype("int32")
REAL = (np.arange(30) < np.array([[30], [17]])).astype(bool)
# mask as the layer takes it; how far a query looks.
MASKS = {
    "none": (None, None),
    "padding": (REAL[:, None, None, :], None),
    "documents": (DOCUMENTS, None),
    "window": (None, 3),
    "window and padding": (REAL[:, None, None, :], 4),
    "window and documents": (DOCUMENTS, 4),
    "window of itself": (DOCUMENTS, 0),
    "window beyond the row": (REAL[:, None, None, :], 40),
}


def layer_for(half_window: int | None, dropout: float, dtype: str = "float32") -> SelfAttention:
    layer = SelfAttention(
        2,
        dropout,
        tf.keras.initializers.GlorotUniform(seed=1),
        tf.keras.initializers.Zeros(),
        half_window=half_window,
        dtype=dtype,
    )
    layer.build((None, None, 8))
    return layer


def outputs_and_gradients(
    layer: SelfAttention, mask: np.ndarray | None, training: bool, jit: bool, in_graph: bool = True
) -> list[np.ndarray]:
    inputs = tf.constant(np.random.default_rng(2).normal(size=(2, 30, 8)), layer.compute_dtype)
    weights = tf.constant(np.random.default_rng(3).normal(size=(2, 30, 8)), layer.compute_dtype)
    if layer.dropout:
        layer.attention_dropout.seed_generator.state.assign([7, 11])

    def computed() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            attended = layer(inputs, None if mask is None else tf.constant(mask), training=training)
            loss = tf.reduce_sum(attended * weights)
        return [attended, *tape.gradient(loss, [inputs, *(weight.value for weight in layer.trainable_weights)])]

    found = tf.function(computed, jit_compile=jit)() if in_graph else computed()
    return [np.asarray(tf.cast(one, tf.float32)) for one in found]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("mask", MASKS)
def test_the_numbers_and_gradients_are_those_of_the_formula_in_full(
    mask: str, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eager, where nothing has to be traced, and in a graph for the chunks that do not go into the row."""
    looked_at, half_window = MASKS[mask]
    layer = layer_for(half_window, dropout)
    expected = outputs_and_gradients(layer, looked_at, training=True, jit=False, in_graph=False)
    for chunk, in_graph in ((7, False), (7, True), (16, False), (30, False), (64, False)):
        if in_graph and not (dropout or FULL):
            continue
        lengths = in_chunks(monkeypatch, chunk)
        all_found = outputs_and_gradients(layer, looked_at, training=True, jit=False, in_graph=in_graph)
        assert lengths == [30]
        for found, whole in zip(all_found, expected, strict=True):
            np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5, err_msg=f"chunks of {chunk}")


def in_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> list[int]:
    """Every row is a long one; the lengths of those that went in chunks."""
    lengths: list[int] = []

    def attention(query: tf.Tensor, *others: object, **named: object) -> tf.Tensor:
        lengths.append(query.shape[2])
        return chunked_attention(query, *others, chunk=chunk, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(transformer_layers, "LONGEST_IN_FULL", 4)
    monkeypatch.setattr(transformer_layers, "chunked_attention", attention)
    return lengths


@pytest.mark.parametrize("mask", ["documents", "window and padding"])
def test_a_compiled_step_and_half_precision(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, half_window = MASKS[mask]
    half, whole = layer_for(half_window, 0.3, "mixed_bfloat16"), layer_for(half_window, 0.3)
    expected = outputs_and_gradients(whole, looked_at, training=True, jit=False)
    in_full = outputs_and_gradients(half, looked_at, training=True, jit=False)
    lengths = in_chunks(monkeypatch, 8)
    for found, exact in zip(outputs_and_gradients(whole, looked_at, training=True, jit=True), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
    in_half = outputs_and_gradients(half, looked_at, training=True, jit=False)
    for found, whole_, exact in zip(in_half, in_full, expected, strict=True):
        assert np.abs(found - exact).max() <= 1.5 * np.abs(whole_ - exact).max() + 1e-3
    assert lengths == [30, 30]


# The programs of the other windows differ in a number alone.
@pytest.mark.parametrize("mask", MASKS if FULL else list(MASKS)[:6])
def test_nothing_of_all_tokens_with_all_is_held(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, half_window = MASKS[mask]
    layer = layer_for(half_window, 0.3)
    sizes = [largest_values(layer, looked_at)]
    in_chunks(monkeypatch, 2)
    sizes.append(largest_values(layer, looked_at))
    assert sizes[0] >= 2 * 2 * LENGTH * LENGTH
    assert sizes[1] < 2 * 2 * LENGTH * LENGTH


LENGTH = 30


def largest_values(layer: SelfAttention, mask: np.ndarray | None) -> int:
    """The most values of a tensor in the compiled program of a step, forward and backward."""
    inputs = tf.constant(np.random.default_rng(2).normal(size=(2, LENGTH, 8)), tf.float32)
    looked_at = None if mask is None else tf.constant(mask)
    state = (layer.attention_dropout.seed_generator.state, tf.constant([7, 11], tf.uint32))

    def computed(inputs: tf.Tensor) -> tf.Tensor:
        with keras.StatelessScope([state]), tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs, looked_at, training=True) ** 2)
        return tape.gradient(loss, inputs)

    program = tf.function(computed, jit_compile=True).experimental_get_compiler_ir(inputs)(stage="hlo")
    shapes = re.findall(r"= (?:f32|s32|u32|pred)\[([\d,]+)\]", program)
    return max(int(np.prod([int(size) for size in shape.split(",")])) for shape in shapes)


def test_positions_are_counted_within_each_document() -> None:
    positions = np.asarray(document_positions(DOCUMENTS))
    for row, documents in enumerate(DOCUMENTS):
        for place, document in enumerate(documents):
            assert positions[row, place] == (documents[:place] == document).sum()
