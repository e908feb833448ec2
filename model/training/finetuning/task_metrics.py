"""How well predictions agree with labels: accuracy, F1, Matthews, Pearson and Spearman, as plain functions of arrays."""

import math
from collections.abc import Callable, Mapping

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (num_classes, num_classes): rows are the true classes, columns the predicted ones."""
    pairs = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(confusion: np.ndarray) -> float:
    return float(np.trace(confusion) / confusion.sum())


def f1(confusion: np.ndarray) -> float:
    """F1 of class 1 where there are two classes, else the mean over the classes (macro).

    A class that neither the labels nor the predictions have counts 0, as in scikit-learn.
    """
    right, predicted, true = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    scores = 2 * right / np.maximum(predicted + true, 1)
    return float(scores[1] if len(scores) == 2 else scores.mean())


def matthews(confusion: np.ndarray) -> float:
    """The correlation of labels and predictions (Matthews 1975; Gorodkin 2004 for several classes), -1 to 1.

    0 where either has one class only: there is nothing to correlate.
    """
    # Python's integers: the products of counts grow beyond 64 bits.
    total, right = int(confusion.sum()), int(np.trace(confusion))
    predicted, true = (list(map(int, confusion.sum(axis=axis))) for axis in (0, 1))
    covariance = right * total - sum(p * t for p, t in zip(predicted, true, strict=True))
    spread = (total**2 - sum(p * p for p in predicted)) * (total**2 - sum(t * t for t in true))
    return covariance / math.sqrt(spread) if spread else 0.0


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Linear correlation, -1 to 1; 0 where either is constant."""
    a, b = (np.asarray(values, np.float64) - np.mean(values, dtype=np.float64) for values in (labels, predictions))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(float(a @ b) / spread, -1, 1)) if spread else 0.0


def average_ranks(values: np.ndarray) -> np.ndarray:
    """float64 ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Correlation of the ranks, -1 to 1; 0 where either is constant."""
    return pearson(average_ranks(labels), average_ranks(predictions))


CLASSIFICATION: Mapping[str, Callable[[np.ndarray], float]] = {"accuracy": accuracy, "f1": f1, "matthews": matthews}
REGRESSION: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {"pearson": pearson, "spearman": spearman}


def classification_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """loss (mean cross-entropy, nats) and all of CLASSIFICATION, from integer labels (N,) and logits (N, C)."""
    logits = logits.astype(np.float64)
    highest = logits.max(axis=1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    confusion = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
    loss = float((log_sum - logits[np.arange(len(labels)), labels]).mean())
    return {"loss": loss, **{name: metric(confusion) for name, metric in CLASSIFICATION.items()}}


def regression_metrics(labels: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """loss (mean squared error) and all of REGRESSION, from numbers (N,) and predicted ones (N,)."""
    loss = float(np.square(labels.astype(np.float64) - values).mean())
    return {"loss": loss, **{name: metric(labels, values) for name, metric in REGRESSION.items()}}
