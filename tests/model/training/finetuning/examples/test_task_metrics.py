"""Metrics of every kind of fine-tuning against values worked out by hand."""

import math

import numpy as np
import pytest

from clozekit.model.training.finetuning.examples.task_metrics import (
    CLASSIFICATION,
    REGRESSION,
    accuracy,
    answer_scores,
    average_ranks,
    classification_metrics,
    confusion_matrix,
    entities,
    f1,
    matthews,
    multi_label_metrics,
    pearson,
    regression_metrics,
    retrieval_metrics,
    spearman,
    tagging_metrics,
)
from clozekit.model.training.settings.finetune_settings import METRIC_NAMES, check_metric
from clozekit.tokenizers.common.errors import InputError


def confusion(labels: list[int], predictions: list[int], num_classes: int = 2) -> np.ndarray:
    return confusion_matrix(np.array(labels), np.array(predictions), num_classes)


def test_the_confusion_matrix_counts_true_by_predicted() -> None:
    assert confusion([0, 0, 1, 2, 2], [0, 1, 1, 2, 0], 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        # 2 true positives, 1 false positive, 1 false negative, 2 true negatives.
        ([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0], (4 / 6, 4 / 6, (2 * 2 - 1 * 1) / 9)),
        ([1, 0], [1, 0], (1.0, 1.0, 1.0)),
        ([1, 0], [0, 1], (0.0, 0.0, -1.0)),
        # One class alone is predicted: nothing to correlate.
        ([1, 0, 0], [0, 0, 0], (2 / 3, 0.0, 0.0)),
        ([1, 1, 0], [1, 1, 1], (2 / 3, 0.8, 0.0)),
        ([0, 0], [0, 0], (1.0, 0.0, 0.0)),
    ],
)
def test_accuracy_f1_and_matthews_of_two_classes(
    labels: list[int], predictions: list[int], expected: tuple[float, float, float]
) -> None:
    table = confusion(labels, predictions)
    assert (accuracy(table), f1(table), matthews(table)) == pytest.approx(expected)


def test_f1_and_matthews_of_three_classes() -> None:
    table = confusion([0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 1], 3)
    # F1 by class: 1, 1/2, 1/2.
    assert f1(table) == pytest.approx(2 / 3)
    # (right * n - sum p t) / sqrt((n^2 - sum p^2)(n^2 - sum t^2)) = (4 * 6 - 12) / (36 - 12).
    assert matthews(table) == pytest.approx(0.5)


def test_matthews_does_not_overflow_with_millions_of_examples() -> None:
    assert matthews(np.array([[3_000_000_000, 0], [0, 2_000_000_000]])) == 1.0


def test_correlations() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    assert pearson(a, 2 * a + 1) == pytest.approx(1.0)
    assert pearson(a, -a) == pytest.approx(-1.0)
    # Deviations (-1.5, -.5, .5, 1.5) and (-1.5, .5, -.5, 1.5): 4 / 5.
    assert pearson(a, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    assert pearson(a, np.ones(4)) == 0.0
    assert spearman(a, np.exp(a)) == pytest.approx(1.0)
    # Ranks (1, 2.5, 2.5, 4) against (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5).
    assert average_ranks(np.array([10, 20, 20, 40])).tolist() == [1, 2.5, 2.5, 4]
    assert spearman(np.array([10, 20, 20, 40]), a) == pytest.approx(4.5 / math.sqrt(22.5))


def test_the_metrics_of_logits_and_values() -> None:
    metrics = classification_metrics(np.array([1, 0]), np.array([[0.0, 0.0], [math.log(3), 0.0]], np.float32))
    assert metrics == pytest.approx(
        {"loss": (math.log(2) + math.log(4 / 3)) / 2, "accuracy": 0.5, "f1": 0.0, "matthews": 0.0}
    )
    found = regression_metrics(np.array([0.0, 1.0, 2.0], np.float32), np.array([1.0, 2.0, 3.0], np.float32))
    assert found == pytest.approx({"loss": 1.0, "pearson": 1.0, "spearman": 1.0})


def test_the_settings_name_what_is_computed() -> None:
    labels, logits = np.array([[1.0, 0.0]]), np.array([[1.0, -1.0]])
    computed = {
        "classification": CLASSIFICATION,
        "regression": REGRESSION,
        "multi_label": multi_label_metrics(labels, logits),
        "token_classification": tagging_metrics([["O"]], [["O"]], ["O"]),
        "question_answering": dict(zip(("f1", "exact_match"), answer_scores("a", ["a"]), strict=True)),
        "embedding": retrieval_metrics(labels, labels, 1.0),
        # Those of a regression, the ranks first: a cosine is no score.
        "similarity": [*reversed(REGRESSION)],
    }
    names = {task: tuple(name for name in metrics if name != "loss") for task, metrics in computed.items()}
    assert names == METRIC_NAMES


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-PER I-PER O", {("PER", 1, 3)}),
        # Two of one type beside each other, and one that begins without its mark.
        ("B-PER B-PER I-PER", {("PER", 0, 1), ("PER", 1, 3)}),
        ("O I-LOC I-LOC", {("LOC", 1, 3)}),
        ("B-PER I-LOC", {("PER", 0, 1), ("LOC", 1, 2)}),
        ("S-PER B-LOC E-LOC S-LOC", {("PER", 0, 1), ("LOC", 1, 3), ("LOC", 3, 4)}),
        ("B-PER E-PER I-PER", {("PER", 0, 2), ("PER", 2, 3)}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_entities_are_read_as_conlleval_reads_them(tags: str, expected: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == expected


def test_tags_are_measured_by_entities_or_by_words() -> None:
    names = ("O", "B-A", "I-A", "B-B")
    true = [["B-A", "I-A", "O", "B-B"], ["B-A"]]
    found = tagging_metrics(true, [["B-A", "O", "O", "B-B"], ["B-A"]], names)
    # Three entities each, two of them right; four of five words.
    assert found == pytest.approx({"f1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3, "accuracy": 4 / 5})
    # One class of two is wholly right, the other has one of two and nothing wrong.
    words = tagging_metrics([["N", "N", "V"]], [["N", "V", "V"]], ("N", "V", "X"))
    assert words == pytest.approx({"f1": 2 / 3, "precision": 3 / 4, "recall": 3 / 4, "accuracy": 2 / 3})
    assert tagging_metrics([["O"]], [["O"]], names)["f1"] == 0.0


def test_several_labels() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.float32)
    logits = np.array([[2.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(1))
    loss = (right + 2 * wrong + 3 * math.log1p(math.exp(-1))) / 6
    expected = {"loss": loss, "f1": 2 / 4, "f1_macro": 1 / 3, "accuracy": 1 / 2}
    assert multi_label_metrics(labels, logits) == pytest.approx(expected)
    assert multi_label_metrics(labels, 1000 * logits)["loss"] == pytest.approx(2000 / 6)


@pytest.mark.parametrize(
    ("answer", "expected", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1.0, 1.0),
        ("eiffel tower in Paris", ["the Eiffel Tower", "Paris"], 0.0, 2 * 2 / 6),
        ("", [], 1.0, 1.0),
        ("Paris", [], 0.0, 0.0),
        ("London", ["Paris"], 0.0, 0.0),
    ],
)
def test_answers_are_compared_as_squad_compares_them(answer: str, expected: list[str], exact: float, f1: float) -> None:
    assert answer_scores(answer, expected) == pytest.approx((exact, f1))


def test_pairs_find_one_another() -> None:
    firsts = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    seconds = np.array([[2.0, 0.0], [1.0, 0.2], [1.0, 1.0]])
    found = retrieval_metrics(firsts, seconds, 1.0)
    # The second one's own is behind one other.
    assert found["accuracy"] == pytest.approx(2 / 3) and found["mrr"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    cosines = (firsts / np.linalg.norm(firsts, axis=1, keepdims=True)) @ (
        seconds / np.linalg.norm(seconds, axis=1, keepdims=True)
    ).T
    losses = [math.log(sum(math.exp(one - row[place]) for one in row)) for place, row in enumerate(cosines)]
    assert found["loss"] == pytest.approx(np.mean(losses))


def test_a_metric_belongs_to_its_task() -> None:
    with pytest.raises(InputError, match="the metric of a regression must be one of pearson, spearman, got 'f1'"):
        check_metric("f1", "regression")
