"""How far a student is from its teacher: the papers' formulas, by hand in NumPy, and gradients that stay with the student."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small_families as families
import tensorflow as tf

from clozekit.model.layers import chunked_divergence as chunks
from clozekit.model.tasks import masked_lm
from clozekit.model.training.objectives.distillation import Teacher, class_divergence, label_divergence
from clozekit.model.training.objectives.embedding_objective import embedding_objective
from clozekit.model.training.objectives.masked_lm_objective import OBJECTIVE, masked_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums, objective_named

LN2, LN3 = np.log(2.0), np.log(3.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def divergence_by_hand(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    """Hinton et al. 2015, section 2, in float64: T^2 x KL(teacher || student)."""
    p, q = softmax(teacher.astype(np.float64) / temperature), softmax(student.astype(np.float64) / temperature)
    return temperature**2 * (p * np.log(p / q)).sum(axis=-1)


def test_the_divergence_of_classes_has_the_values_of_its_formula() -> None:
    # Teacher 3/4 and 1/4, student 1/2 and 1/2: 3/4 ln(3/2) + 1/4 ln(1/2).
    found = class_divergence(tf.constant([0.0, 0.0]), tf.constant([LN3, 0.0], tf.float32), 1.0)
    assert float(found) == pytest.approx(0.75 * np.log(1.5) - 0.25 * LN2, rel=1e-6)
    # At temperature 2 logits twice as large give the same shares, and the square is 4.
    softened = class_divergence(tf.constant([0.0, 0.0]), tf.constant([2 * LN3, 0.0], tf.float32), 2.0)
    assert float(softened) == pytest.approx(4 * float(found), rel=1e-6)
    dice = np.random.default_rng(0)
    student, teacher = dice.normal(size=(2, 3, 4, 5)).astype(np.float32) * 3
    for temperature in (0.5, 1.0, 4.0):
        expected = divergence_by_hand(student, teacher, temperature)
        np.testing.assert_allclose(class_divergence(student, teacher, temperature), expected, rtol=1e-4)
    assert float(tf.reduce_max(tf.abs(class_divergence(student, student, 2.0)))) < 1e-6


def test_the_divergence_of_labels_is_that_of_two_classes_each() -> None:
    dice = np.random.default_rng(1)
    student, teacher = dice.normal(size=(2, 6)) * 4
    # A label's logit is that of "there" against 0 for "not there".
    both = [np.stack([one, np.zeros(6)], axis=-1) for one in (student, teacher)]
    for temperature in (1.0, 3.0):
        found = label_divergence(tf.constant(student), tf.constant(teacher), temperature)
        np.testing.assert_allclose(found, divergence_by_hand(*both, temperature), rtol=1e-4)


class Fixed:
    """A task that gives what it was told, whatever it reads."""

    def __init__(self, outputs: np.ndarray) -> None:
        self.outputs = tf.constant(outputs, tf.float32)
        self.backbone = SimpleNamespace(input_names=lambda: ("token_ids",))

    def __call__(self, inputs: Batch, training: bool) -> tf.Tensor:
        assert list(inputs) == ["token_ids"]
        return self.outputs


def taught(objective: Objective, student: Any, teacher: Any, batch: Batch, temperature: float = 2.0) -> Sums:
    known = Teacher(teacher, "teacher", "", temperature, 0.5)
    given = {"token_ids": tf.zeros([1, 1], tf.int32), **batch}
    return Objective(objective.outputs, objective.of_outputs, True, objective.distillation, known).sums(
        student, given, True
    )


def test_each_objective_sums_over_what_it_counts() -> None:
    dice = np.random.default_rng(2)
    student, teacher = dice.normal(size=(2, 3, 4)).astype(np.float32)
    of_classes = taught(
        objective_named("classification"), Fixed(student), Fixed(teacher), {"labels": tf.constant([0, 1, 2])}
    )
    np.testing.assert_allclose(of_classes.distillation, divergence_by_hand(student, teacher, 2.0).sum(), rtol=1e-5)
    of_labels = taught(
        objective_named("multi_label"), Fixed(student), Fixed(teacher), {"labels": tf.zeros([3, 4], tf.float32)}
    )
    expected = np.asarray(label_divergence(student, teacher, 2.0)).mean(axis=1).sum()
    np.testing.assert_allclose(of_labels.distillation, expected, rtol=1e-5)
    numbers = taught(
        objective_named("regression"), Fixed(student[:, :1]), Fixed(teacher[:, :1]), {"labels": tf.zeros([3])}
    )
    np.testing.assert_allclose(numbers.distillation, ((student - teacher)[:, 0] ** 2).sum(), rtol=1e-5)


def test_tokens_without_a_class_teach_nothing() -> None:
    dice = np.random.default_rng(3)
    student, teacher = dice.normal(size=(2, 2, 3, 4)).astype(np.float32)
    labels = np.array([[-100, 1, -100], [2, 0, -100]], np.int32)
    sums = taught(
        objective_named("token_classification"), Fixed(student), Fixed(teacher), {"labels": tf.constant(labels)}
    )
    assert float(sums.count) == 3
    expected = divergence_by_hand(student, teacher, 2.0)[labels >= 0].sum()
    np.testing.assert_allclose(sums.distillation, expected, rtol=1e-5)


def test_answers_are_compared_over_the_tokens_that_are_no_padding() -> None:
    dice = np.random.default_rng(4)
    student, teacher = dice.normal(size=(2, 2, 5, 2)).astype(np.float32)
    padding = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    batch = {"labels": tf.constant([[0, 1], [2, 4]]), "padding_mask": tf.constant(padding)}
    sums = taught(objective_named("question_answering"), Fixed(student), Fixed(teacher), batch)
    sides = [
        divergence_by_hand(student[row, :real, side], teacher[row, :real, side], 2.0)
        for row, real in ((0, 3), (1, 5))
        for side in (0, 1)
    ]
    np.testing.assert_allclose(sums.distillation, sum(sides) / 2, rtol=1e-5)


class Pairs(Fixed):
    """An embedder: its first call gives the rows, its second their pairs."""

    def __call__(self, inputs: Batch, training: bool) -> tf.Tensor:
        return self.outputs[0] if float(inputs["token_ids"][0, 0]) == 0 else self.outputs[1]


def test_embedders_are_compared_by_who_is_near_whom_in_a_group_whatever_their_width() -> None:
    dice = np.random.default_rng(5)
    student, teacher = dice.normal(size=(2, 4, 3)), dice.normal(size=(2, 4, 7))
    batch = {"token_ids": tf.zeros([1, 1], tf.int32), "pair_token_ids": tf.ones([1, 1], tf.int32)}
    sums = taught(embedding_objective(0.1, 2), Pairs(student), Pairs(teacher), batch)

    def near(vectors: np.ndarray) -> np.ndarray:
        first, second = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.concatenate([first[at : at + 2] @ second[at : at + 2].T for at in (0, 2)]) / 0.1

    expected = divergence_by_hand(near(student), near(teacher), 2.0).sum()
    np.testing.assert_allclose(sums.distillation, expected, rtol=1e-4)
    assert float(sums.count) == 4


def test_what_is_minimised_is_the_mean_by_the_weight() -> None:
    sums = Sums(6.0, 3.0, 1.0, 2.0)
    for weight, expected in ((0.0, 6.0), (0.25, 5.0), (1.0, 2.0)):
        objective = Objective(lambda *_: None, lambda *_: sums, teacher=Teacher(Any, "t", "", 2.0, weight))  # type: ignore[arg-type]
        assert objective.minimised(sums) == expected
    assert objective.measures(sums) == {"loss": 2.0, "accuracy": 1 / 3, "distillation_loss": 2 / 3}
    assert Objective(lambda *_: None, lambda *_: sums).measures(sums) == {"loss": 2.0, "accuracy": 1 / 3}


def masked_batch(name: str) -> dict[str, tf.Tensor]:
    rows = families.batch(name, batch_size=4)
    ids, weights = families.labels(name, rows)
    return {**{key: tf.constant(value) for key, value in rows.items()}, "mask_ids": ids, "mask_weights": weights}


@pytest.mark.parametrize("xla", [False, True])
def test_in_chunks_the_divergence_and_its_gradients_are_those_of_the_logits(
    xla: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = families.masked_lm("bert"), families.masked_lm("bert", backbone_changes={"hidden_dim": 24})
    families.randomize(teacher, seed=5)
    teacher.trainable = False
    batch = masked_batch("bert")
    objective = Objective(
        OBJECTIVE.outputs, OBJECTIVE.of_outputs, True, masked_divergence, Teacher(teacher, "t", "", 3.0, 1.0)
    )

    def gradients() -> Any:
        variables = [variable.value for variable in student.trainable_variables]
        with tf.GradientTape() as tape:
            sums = objective.sums(student, batch, False)
            # A factor, as the mean's.
            scaled = 2.0 * objective.minimised(sums)
        found = tape.gradient(scaled, [*variables, *(variable.value for variable in teacher.weights)])
        assert found[len(variables) :] == [None] * len(teacher.weights)
        return sums.distillation, [tf.convert_to_tensor(one) for one in found[: len(variables)]]

    total, expected = gradients()
    logits = [np.asarray(task.masked_logits(batch)) for task in (student, teacher)]
    by_hand = (divergence_by_hand(*logits, 3.0) * np.asarray(batch["mask_weights"])).sum()
    np.testing.assert_allclose(total, by_hand, rtol=1e-4)
    monkeypatch.setattr(masked_lm, "MAX_LOGITS", 100)
    # 12 positions in chunks of 5, the last one not full.
    monkeypatch.setattr(chunks, "CHUNK_LOGITS", 5 * student.backbone.vocabulary_size)
    found, chunked = (tf.function(gradients, jit_compile=True) if xla else gradients)()
    np.testing.assert_allclose(found, by_hand, rtol=1e-4)
    for ours, dense in zip(chunked, expected, strict=True):
        # That of the bias of keys is 0 but for rounding.
        np.testing.assert_allclose(ours, dense, rtol=1e-4, atol=1e-5 * max(0.1, float(np.abs(dense).max())))
