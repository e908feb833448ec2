"""The step: micro-batches equal one batch, AdamW as in its paper, the schedule, a bad gradient changes nothing."""

import dataclasses
import gc
import weakref
from typing import Any

import keras
import numpy as np
import pytest
import small_families as small
import tensorflow as tf
from long_variants import FULL

from clozekit.model.families.family_table import family_of
from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.model.tasks.dropout_states import dropout_states
from clozekit.model.tasks.recomputed_blocks import recomputed_blocks
from clozekit.model.training.architecture import from_scratch
from clozekit.model.training.build_task import build_task
from clozekit.model.training.controller import pretraining_step
from clozekit.model.training.optimizers.optimizer import Optimizer, has_weight_decay
from clozekit.model.training.settings.loop_settings import OptimizerSettings
from clozekit.model.training.settings.run_settings import MaskingSettings, ModelSettings, RunSettings, TrainSettings

MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.0)


def batches(count: int) -> tf.data.Dataset:
    """Batches whose rows hold very different numbers of masks, so that a mean of means would show."""
    dice = np.random.default_rng(0)
    token_ids = dice.integers(5, 40, (count, 8, 12)).astype(np.int32)
    weights = (np.arange(6)[None, None, :] < dice.integers(0, 7, (count, 8, 1))).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices(
        {
            "token_ids": token_ids,
            "padding_mask": np.ones_like(token_ids),
            "mask_positions": dice.integers(0, 12, (count, 8, 6)).astype(np.int32),
            "mask_ids": dice.integers(5, 40, (count, 8, 6)).astype(np.int32),
            "mask_weights": weights,
        }
    )


def trained(
    steps: int,
    micro_batch_size: int | None = None,
    xla: bool = False,
    model: ModelSettings = MODEL,
    recompute: bool = False,
) -> tuple[Any, Any]:
    config = RunSettings(
        "data",
        "run",
        model=model,
        train=TrainSettings(
            steps=steps, global_batch_size=8, micro_batch_size=micro_batch_size, xla=xla, recompute=recompute
        ),
    )
    task = build_task(config, from_scratch(config.model, 40, 12))
    optimizer = Optimizer(task.trainable_variables, config.optimizer, xla)
    step = pretraining_step(task, optimizer, config, tf.distribute.get_strategy())
    result = step.run_loop(iter(batches(steps)), tf.constant(0), tf.constant(steps))
    return task, result


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Any]:
    """Ten steps of whole batches."""
    return trained(10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("micro_batch_size", "xla"), [(1, False), (4, True), *([(4, False), (2, False), (None, True)] if FULL else [])]
)
def test_micro_batches_and_xla_give_the_same_update(
    micro_batch_size: int | None, xla: bool, reference: tuple[Any, Any]
) -> None:
    whole, reference_result = reference
    task, result = trained(10, micro_batch_size, xla)
    for a, b in zip(task.trainable_variables, whole.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(result.sums.loss, reference_result.sums.loss, rtol=1e-4)
    assert float(result.sums.count) == float(reference_result.sums.count)
    assert int(result.counts.tokens) == 10 * 8 * 12


def test_training_that_is_over_leaves_no_variables_behind() -> None:
    """TensorFlow keeps gradients of one's own by name until the process ends: those of `all_reduce` held the whole graph."""
    task, result = trained(1)
    gone = weakref.ref(task.trainable_variables[0].value.handle)
    assert gone() is not None
    del task, result
    gc.collect()
    assert gone() is None


# ALBERT's blocks are used again and again.
@pytest.mark.parametrize(
    ("family", "num_layers", "xla"),
    [
        ("bert", 2, False),
        ("albert", 2, False),
        ("modern_bert", 2 if FULL else 1, True),
        ("deberta_v3", 2 if FULL else 1, FULL),
        *([("bert", 2, True)] if FULL else []),
    ],
)
def test_blocks_whose_values_are_made_anew_give_the_same_update(family: str, num_layers: int, xla: bool) -> None:
    """With dropout, which drops the same values in both passes."""
    model = dataclasses.replace(MODEL, family=family, num_layers=num_layers, dropout=0.3)
    reference, reference_result = trained(4, 4, xla, model)
    task, result = trained(4, 4, xla, model, recompute=True)
    for a, b in zip(task.trainable_variables, reference.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.sums.loss, reference_result.sums.loss, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "modern_bert", "deberta_v3"])
@pytest.mark.parametrize("kind", ["backbone", "text_classifier"])
def test_a_backward_pass_calls_blocks_again_in_every_task(
    family: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = small.backbone(family)
    task = backbone
    inputs = {name: np.ones((2, 6), np.int32) for name in backbone.input_names()}
    if kind == "text_classifier":
        task = family_of(backbone).text_classifier(backbone, num_classes=2, compile=False)
    block = type(backbone.transformer_layers[0])
    calls, call = [], block.call
    monkeypatch.setattr(block, "call", lambda self, *given, **named: calls.append(self) or call(self, *given, **named))
    states = [(state, tf.constant([1, 2], tf.as_dtype(state.dtype))) for state in dropout_states(task)]

    def gradients() -> list[tf.Tensor]:
        with keras.StatelessScope(states), recomputed_blocks(), tf.GradientTape() as tape:
            loss = tf.reduce_sum(hidden_of(task(inputs, training=True)))
        return tape.gradient(loss, [backbone.token_embedding.embeddings.value])

    tf.function(gradients)()
    assert len(calls) == 2 * len(backbone.transformer_layers)


def hidden_of(outputs: Any) -> tf.Tensor:
    return outputs["sequence_output"] if isinstance(outputs, dict) else outputs


def adamw_by_hand(
    value: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float, c: OptimizerSettings
) -> np.ndarray:
    """Loshchilov and Hutter 2017, algorithm 2, in float64."""
    first = second = np.zeros_like(value)
    for t, gradient in enumerate(gradients, start=1):
        first = c.beta_1 * first + (1 - c.beta_1) * gradient
        second = c.beta_2 * second + (1 - c.beta_2) * gradient**2
        change = (first / (1 - c.beta_1**t)) / (np.sqrt(second / (1 - c.beta_2**t)) + c.epsilon)
        value = value - rate * (change + decay * value)
    return value


def test_adamw_is_the_papers() -> None:
    config = OptimizerSettings(weight_decay=0.1, clip_norm=1e9)
    kernel, bias = keras.Variable([[1.0, -2.0]], name="kernel"), keras.Variable([0.5], name="bias")
    optimizer = Optimizer([kernel, bias], config, xla=False)
    gradients = [(np.array([[0.3, -0.1]]), np.array([2.0])), (np.array([[-0.2, 0.4]]), np.array([-1.0]))]
    for pair in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32) for gradient in pair], tf.constant(0.01))
    for variable, start, index, decay in ((kernel, np.array([[1.0, -2.0]]), 0, 0.1), (bias, np.array([0.5]), 1, 0.0)):
        expected = adamw_by_hand(start, [pair[index] for pair in gradients], 0.01, decay, config)
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-5)


def lamb_by_hand(
    value: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float, c: OptimizerSettings
) -> Any:
    """You et al. 2019, algorithm 2, in float64, with phi the identity."""
    first = second = np.zeros_like(value)
    for t, gradient in enumerate(gradients, start=1):
        first = c.beta_1 * first + (1 - c.beta_1) * gradient
        second = c.beta_2 * second + (1 - c.beta_2) * gradient**2
        ratio = (first / (1 - c.beta_1**t)) / (np.sqrt(second / (1 - c.beta_2**t)) + c.epsilon)
        change = ratio + decay * value
        trust = np.linalg.norm(value) / np.linalg.norm(change) if np.linalg.norm(value) else 1.0
        value = value - rate * trust * change
    return value


@pytest.mark.parametrize("xla", [False, True])
def test_lamb_is_the_papers(xla: bool) -> None:
    config = OptimizerSettings(name="lamb", weight_decay=0.1, clip_norm=1e9)
    dice = np.random.default_rng(0)
    start = {"kernel": dice.normal(size=(3, 4)), "zero/kernel": np.zeros((2, 2)), "bias": dice.normal(size=4)}
    variables = [keras.Variable(value, name=name.split("/")[-1], dtype="float32") for name, value in start.items()]
    optimizer = Optimizer(variables, config, xla=xla)
    gradients = [[dice.normal(size=value.shape) for value in start.values()] for _ in range(4)]
    for step in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32) for gradient in step], tf.constant(0.01))
    for index, (name, value) in enumerate(start.items()):
        mine = [step[index] for step in gradients]
        # Biases: no decay, no factor, as in the code of the authors.
        by_hand = adamw_by_hand if name == "bias" else lamb_by_hand
        expected = by_hand(value, mine, 0.01, 0.0 if name == "bias" else 0.1, config)
        np.testing.assert_allclose(np.asarray(variables[index]), expected, rtol=2e-5, atol=1e-7)


def test_gradients_are_clipped_to_their_global_norm() -> None:
    def after(scale: float) -> np.ndarray:
        variable = keras.Variable([1.0, 1.0], name="kernel")
        optimizer = Optimizer([variable], OptimizerSettings(clip_norm=1.0, epsilon=1.0), xla=False)
        norm = optimizer.apply([tf.constant([3.0, 4.0]) * scale], tf.constant(0.1))
        np.testing.assert_allclose(float(norm), 5.0 * scale, rtol=1e-6)
        return np.asarray(variable)

    np.testing.assert_allclose(after(1.0), after(100.0), rtol=1e-5)
    assert np.abs(after(0.1) - after(1.0)).max() > 1e-3


@pytest.mark.parametrize("xla", [False, True])
def test_a_gradient_that_is_no_number_changes_nothing(xla: bool) -> None:
    variable = keras.Variable([1.0, 2.0], name="kernel")
    optimizer = Optimizer([variable], OptimizerSettings(), xla=xla)
    optimizer.apply([tf.constant([0.1, 0.1])], tf.constant(0.1))
    before = [np.asarray(v) for v in (variable, optimizer.first[0], optimizer.second[0], optimizer.updates)]
    for bad in (float("nan"), float("inf")):
        norm = optimizer.apply([tf.constant([bad, 0.1])], tf.constant(0.1))
        assert not np.isfinite(norm)
        after = [np.asarray(v) for v in (variable, optimizer.first[0], optimizer.second[0], optimizer.updates)]
        assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_norms_and_biases_do_not_decay() -> None:
    config = RunSettings("data", "run", model=MODEL)
    task = build_task(config, from_scratch(config.model, 40, 12))
    kept = sorted({v.path.rsplit("/", 1)[-1] for v in task.trainable_variables if not has_weight_decay(v.path)})
    decayed = sorted({v.path.rsplit("/", 1)[-1] for v in task.trainable_variables if has_weight_decay(v.path)})
    assert kept == ["beta", "bias", "gamma", "output_bias"]
    assert decayed == ["embeddings", "kernel"]


@pytest.mark.slow
def test_rows_in_a_short_bin_give_the_update_they_give_padded() -> None:
    def after(bins: tuple[int, ...]) -> list[np.ndarray]:
        reader = ReaderSettings(length_bins=bins)
        train, masking = TrainSettings(steps=2, global_batch_size=8, xla=False), MaskingSettings(train_rate=0.5)
        config = RunSettings("data", "run", model=MODEL, train=train, reader=reader, masking=masking)
        task = build_task(config, from_scratch(config.model, 40, 12))
        optimizer = Optimizer(task.trainable_variables, config.optimizer, False)
        step = pretraining_step(task, optimizer, config, tf.distribute.get_strategy())
        dice = np.random.default_rng(0)
        # One batch of rows of 5 tokens, one of 11.
        padding = (np.arange(12) < np.array([5, 11])[:, None, None]).astype(np.int32) * np.ones((2, 8, 1), np.int32)
        batches = {
            "token_ids": dice.integers(5, 40, (2, 8, 12)).astype(np.int32) * padding,
            "document_ids": padding,
            "positions": np.arange(12, dtype=np.int32) * padding,
            "padding_mask": padding,
            "mask_positions": dice.integers(0, 5, (2, 8, 6)).astype(np.int32),
            "mask_ids": dice.integers(5, 40, (2, 8, 6)).astype(np.int32),
            "mask_weights": (np.arange(6) < 3).astype(np.float32) * np.ones((2, 8, 1), np.float32),
        }
        if bins:
            batches["length_bin"] = np.array([[0] * 8, [1] * 8], np.int32)
        result = step.run_loop(iter(tf.data.Dataset.from_tensor_slices(batches)), tf.constant(0), tf.constant(2))
        widths = [6, 12] if bins else [12, 12]
        assert int(result.counts.places) == sum(widths) * 8
        assert int(result.counts.slots) == (sum(widths) * 8) // 2
        return [np.asarray(variable) for variable in task.trainable_variables]

    for a, b in zip(after(()), after((6,)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


@pytest.mark.slow
def test_bfloat16_keeps_weights_and_moments_in_float32(reference: tuple[Any, Any]) -> None:
    config = RunSettings(
        "data",
        "run",
        model=MODEL,
        train=TrainSettings(steps=10, global_batch_size=8, xla=FULL, precision="mixed_bfloat16"),
    )
    task = build_task(config, from_scratch(config.model, 40, 12))
    assert task.backbone.token_embedding.compute_dtype == "bfloat16"
    optimizer = Optimizer(task.trainable_variables, config.optimizer, FULL)
    step = pretraining_step(task, optimizer, config, tf.distribute.get_strategy())
    result = step.run_loop(iter(batches(10)), tf.constant(0), tf.constant(10))
    kinds = {variable.dtype for variable in (*task.trainable_variables, *optimizer.first, *optimizer.second)}
    assert {str(tf.as_dtype(kind).name) for kind in kinds} == {"float32"}
    assert float(result.sums.loss) == pytest.approx(float(reference[1].sums.loss), rel=0.02)
