"""BERT: parameter counts, packing is invisible, the head gathers, the Keras model and the trainer's function agree."""

import functools
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.families.bert import BertBackbone, BertMaskedLM
from clozekit.model.layers.masked_lm_head import gather_positions
from clozekit.model.reading.row_records import derive
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.objectives.masked_lm_objective import OBJECTIVE

SMALL: dict[str, Any] = {
    "vocabulary_size": 50,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "max_sequence_length": 16,
    "dropout": 0.0,
}


@pytest.fixture
def task() -> BertMaskedLM:
    keras.utils.set_random_seed(0)
    task = BertMaskedLM(BertBackbone(**SMALL))
    # Weights far from the start's tiny ones, so that a wrong mask or position shows.
    for variable in task.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.5))
    return task


def pad(rows: list[list[int]], length: int) -> np.ndarray:
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)


@pytest.mark.parametrize(
    ("dimensions", "parameters"),
    # google-research/bert's sizes; the counts are those of KerasHub's presets.
    [
        ({"num_layers": 2, "num_heads": 2, "hidden_dim": 128, "intermediate_dim": 512}, 4_385_920),
        ({"num_layers": 4, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048}, 28_763_648),
    ],
)
def test_parameter_counts(dimensions: dict[str, int], parameters: int) -> None:
    assert BertBackbone(vocabulary_size=30_522, **dimensions).count_params() == parameters


DOCUMENTS = [[2, 10, 11, 12, 3], [2, 20, 3], [2, 30, 31, 32, 33, 34, 3]]


def packed_batch() -> dict[str, tf.Tensor]:
    lengths = tf.ragged.constant([[len(document) for document in DOCUMENTS]], dtype=tf.int64)
    token_ids = tf.constant(pad([sum(DOCUMENTS, [])], 16))
    positions = [[1, 3, 6, 9, 13]]
    return {"token_ids": token_ids, "mask_positions": tf.constant(positions), **derive(lengths, 16)}


def alone_batch() -> dict[str, tf.Tensor]:
    token_ids = pad(DOCUMENTS, 16)
    return {
        "token_ids": tf.constant(token_ids),
        "padding_mask": tf.constant((token_ids > 0).astype(np.int32)),
        "mask_positions": tf.constant([[1, 3], [1, 0], [1, 5]]),
    }


def test_packing_is_invisible_in_outputs_and_gradients(task: BertMaskedLM) -> None:
    packed, alone = packed_batch(), alone_batch()
    hidden_packed = task.backbone.encode(
        packed["token_ids"],
        packed["padding_mask"],
        document_ids=packed["document_ids"],
        positions=packed["positions"],
    )
    hidden_alone = task.backbone.encode(alone["token_ids"], alone["padding_mask"])
    expected = np.concatenate([hidden_alone[row, : len(document)] for row, document in enumerate(DOCUMENTS)])
    np.testing.assert_allclose(hidden_packed[0, : len(expected)], expected, rtol=1e-5, atol=1e-5)

    labels = {
        "packed": (tf.constant([[7, 8, 9, 5, 6]]), tf.ones((1, 5))),
        "alone": (tf.constant([[7, 8], [9, 0], [5, 6]]), tf.constant([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])),
    }
    gradients = {}
    for name, batch in (("packed", packed), ("alone", alone)):
        with tf.GradientTape() as tape:
            mask_ids, mask_weights = labels[name]
            masked = {**batch, "mask_ids": mask_ids, "mask_weights": mask_weights}
            loss = OBJECTIVE.sums(task, masked, False).loss
        variables = [variable.value for variable in task.trainable_variables]
        gradients[name] = [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        ]
    for a, b in zip(gradients["packed"], gradients["alone"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_documents_would_see_each_other_without_their_ids(task: BertMaskedLM) -> None:
    packed = packed_batch()
    with_ids = task.masked_logits(packed)
    del packed["document_ids"]
    assert np.abs(task.masked_logits(packed) - with_ids).max() > 0.01


def test_the_keras_model_and_the_trainers_function_agree(task: BertMaskedLM) -> None:
    batch = alone_batch()
    inputs = {**batch, "segment_ids": tf.zeros_like(batch["token_ids"])}
    np.testing.assert_allclose(task(inputs), task.masked_logits(batch), rtol=1e-5, atol=1e-5)
    assert task(inputs).shape == (3, 2, 50)


def test_segments_and_padding_matter_as_they_should(task: BertMaskedLM) -> None:
    batch = alone_batch()
    changed = batch["token_ids"].numpy()
    changed[batch["padding_mask"].numpy() == 0] = 9
    same = task.masked_logits({**batch, "token_ids": tf.constant(changed)})
    np.testing.assert_allclose(same, task.masked_logits(batch), rtol=1e-5, atol=1e-5)
    segments = task.backbone.encode(
        batch["token_ids"], batch["padding_mask"], segment_ids=tf.ones_like(batch["token_ids"])
    )
    assert np.abs(segments - task.backbone.encode(batch["token_ids"], batch["padding_mask"])).max() > 0.1


def test_positions_are_gathered_from_their_own_rows() -> None:
    inputs = np.arange(2 * 4 * 3).reshape(2, 4, 3).astype("float32")
    positions = np.array([[3, 0], [1, 1]])
    expected = np.stack([inputs[row][positions[row]] for row in range(2)])
    assert (np.asarray(gather_positions(inputs, positions)) == expected).all()


def test_the_sum_of_the_loss_counts_used_slots_only() -> None:
    logits = tf.constant([[[2.0, 0.0], [0.0, 3.0], [9.0, 9.0]]])
    fixed: Any = SimpleNamespace(
        encode=lambda batch, training: None,
        masked_lm_head=lambda hidden, positions: logits,
        backbone=SimpleNamespace(vocabulary_size=2),
    )
    fixed.masked_outputs = functools.partial(MaskedLM.masked_outputs, fixed)
    batch = {
        "mask_positions": tf.constant([[0, 1, 2]]),
        "mask_ids": tf.constant([[0, 0, 0]]),
        "mask_weights": tf.constant([[1.0, 1.0, 0.0]]),
    }
    sums = OBJECTIVE.sums(fixed, batch, False)[:3]
    expected = np.log1p(np.exp(-2.0)) + np.log1p(np.exp(3.0))
    np.testing.assert_allclose([float(part) for part in sums], [expected, 2.0, 1.0], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_weights_of_eight_bits_give_nearly_the_same(task: BertMaskedLM) -> None:
    inputs = {"token_ids": pad(DOCUMENTS, 8), "padding_mask": (pad(DOCUMENTS, 8) > 0).astype(np.int32)}
    inputs["segment_ids"] = np.zeros_like(inputs["token_ids"])
    before = np.asarray(task.backbone(inputs)["sequence_output"])
    task.backbone.quantize("int8")
    after = np.asarray(task.backbone(inputs)["sequence_output"])
    dense = task.backbone.transformer_layers[0]._self_attention_layer.query_dense
    assert keras.backend.standardize_dtype(dense.kernel.dtype) == "int8"
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()
