"""Metrics of classification and regression against values worked out by hand."""

import math

import numpy as np
import pytest

from clozekit.model.training.finetuning.task_metrics import (
    CLASSIFICATION,
    REGRESSION,
    accuracy,
    average_ranks,
    classification_metrics,
    confusion_matrix,
    f1,
    matthews,
    pearson,
    regression_metrics,
    spearman,
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
    assert {"classification": tuple(CLASSIFICATION), "regression": tuple(REGRESSION)} == METRIC_NAMES


def test_a_metric_belongs_to_its_task() -> None:
    with pytest.raises(InputError, match="the metric of a regression must be one of pearson, spearman, got 'f1'"):
        check_metric("f1", "regression")
