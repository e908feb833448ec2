"""Packing is invisible: each document of a packed row gives the outputs and gradients it gives alone, in every family."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from long_variants import DISTINCT, FULL

from clozekit.model.families.family_table import family_named
from clozekit.model.reading.row_records import derive
from clozekit.model.training.objectives.masked_lm_objective import OBJECTIVE
from clozekit.tokenizers.common.family_names import FAMILIES

LENGTH = 24
# Documents of several lengths, one of a single token; where sentence B begins in each; what is predicted of each.
DOCUMENTS = [[2, 10, 11, 12, 3], [2, 20, 3], [44], [2, 30, 31, 32, 33, 34, 35, 3]]
SECOND_SENTENCES = [3, 3, 1, 4]
PREDICTED = [[1, 3], [1], [0], [2, 5, 6]]


def task_of(name: str) -> Any:
    keras.utils.set_random_seed(0)
    family = family_named(name)
    own: dict[str, Any] = {"embedding_dim": 8, "num_groups": 1} if name == "albert" else {}
    if name == "deberta_v3":
        # Buckets end in the longest document.
        own = {"bucket_size": 4, "max_relative_positions": 6}
    if name == "modern_bert":
        # Windows that reach over the ends of documents, and are shorter than the longest one.
        own = {"num_layers": 4, "attention_window": 4}
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": LENGTH}
    backbone = family.backbone(**{"vocabulary_size": 50, "dropout": 0.0, **sizes, **own})
    task = family.masked_lm(backbone, compile=False)
    # Far from the start's tiny weights, so that a wrong mask or position shows.
    for variable in task.weights:
        variable.assign(keras.random.normal(variable.shape, stddev=0.5))
    return task


def batch_of(rows: list[list[int]]) -> dict[str, tf.Tensor]:
    """A batch whose rows hold the documents of these numbers, as the reader would give it."""
    token_ids = np.zeros((len(rows), LENGTH), np.int32)
    slots = 8
    positions, ids, weights = (np.zeros((len(rows), slots), kind) for kind in (np.int32, np.int32, np.float32))
    for row, numbers in enumerate(rows):
        place = slot = 0
        for number in numbers:
            token_ids[row, place : place + len(DOCUMENTS[number])] = DOCUMENTS[number]
            for position in PREDICTED[number]:
                positions[row, slot], ids[row, slot], weights[row, slot] = place + position, 40 + number, 1.0
                slot += 1
            place += len(DOCUMENTS[number])
    lengths = [[len(DOCUMENTS[number]) for number in numbers] for numbers in rows]
    firsts = tf.constant([SECOND_SENTENCES[n] for numbers in rows for n in numbers], tf.int64)
    derived = derive(tf.ragged.constant(lengths, dtype=tf.int64), LENGTH, firsts, tf.zeros_like(firsts))
    del derived["pair_labels"]
    return {
        "token_ids": tf.constant(token_ids),
        **derived,
        "mask_positions": tf.constant(positions),
        "mask_ids": tf.constant(ids),
        "mask_weights": tf.constant(weights),
    }


# The compiler takes a third of a minute for each family.
COMPILED = FAMILIES if FULL else []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "xla"), [*((name, False) for name in DISTINCT), *((name, True) for name in COMPILED)])
def test_a_document_gives_in_a_packed_row_what_it_gives_alone(name: str, xla: bool) -> None:
    task = task_of(name)
    variables = [variable.value for variable in task.trainable_variables]
    packed, alone = batch_of([[0, 1], [2, 3]]), batch_of([[0], [1], [2], [3]])

    def outputs(batch: dict[str, tf.Tensor]) -> Any:
        with tf.GradientTape() as tape:
            sums = OBJECTIVE.sums(task, batch, True)
        return task.encode(batch), sums, tape.gradient(sums.loss, variables)

    # Without the compiler as they come: to trace them takes longer.
    computed = tf.function(outputs, jit_compile=True) if xla else outputs
    hidden, sums, gradients = computed(packed)
    hidden_alone, sums_alone, gradients_alone = computed(alone)
    for row, numbers in enumerate([[0, 1], [2, 3]]):
        place = 0
        for number in numbers:
            size = len(DOCUMENTS[number])
            expected = hidden_alone[number, :size]
            np.testing.assert_allclose(hidden[row, place : place + size], expected, rtol=1e-4, atol=1e-5)
            place += size
    np.testing.assert_allclose(sums, sums_alone, rtol=1e-5)
    for variable, a, b in zip(task.trainable_variables, gradients, gradients_alone, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            scale = np.abs(tf.convert_to_tensor(b)).max()
            difference = np.abs(tf.convert_to_tensor(a) - tf.convert_to_tensor(b)).max()
            assert difference <= 1e-4 * scale + 1e-6, variable.path
