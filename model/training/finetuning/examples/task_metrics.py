"""How well predictions agree with labels: accuracy, F1, Matthews, Pearson, entities, answers, as plain functions."""

import collections
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence

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


def cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 (N,), nats: the cross-entropy of each of the integer labels (N,) under logits (N, C)."""
    logits = logits.astype(np.float64)
    highest = logits.max(axis=1)
    log_sums = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return log_sums - logits[np.arange(len(labels)), labels]


def classification_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """loss (mean cross-entropy, nats) and all of CLASSIFICATION, from integer labels (N,) and logits (N, C)."""
    confusion = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
    loss = float(cross_entropies(logits, labels).mean())
    return {"loss": loss, **{name: metric(confusion) for name, metric in CLASSIFICATION.items()}}


def regression_metrics(labels: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """loss (mean squared error) and all of REGRESSION, from numbers (N,) and predicted ones (N,)."""
    loss = float(np.square(labels.astype(np.float64) - values).mean())
    return {"loss": loss, **{name: metric(labels, values) for name, metric in REGRESSION.items()}}


def multi_label_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Of labels (N, C), 0 or 1, and logits (N, C): loss (mean binary cross-entropy, nats), f1 over all labels of all texts
    (micro), f1_macro (the mean over the labels), accuracy (texts with all labels right). A label is predicted above 0.

    F1 of nothing, neither there nor predicted, counts 0, as in scikit-learn.
    """
    logits, true, predicted = logits.astype(np.float64), labels > 0.5, logits > 0
    losses = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    right = (true & predicted).sum(axis=0)
    counted = true.sum(axis=0) + predicted.sum(axis=0)
    return {
        "loss": float(losses.mean()),
        "f1": float(2 * right.sum() / max(counted.sum(), 1)),
        "f1_macro": float((2 * right / np.maximum(counted, 1)).mean()),
        "accuracy": float((true == predicted).all(axis=1).mean()),
    }


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first word, word behind the last) of the entities that tags such as B-PER, I-PER, O (or E-, S-) mark.

    Read as conlleval does (Tjong Kim Sang and De Meulder 2003): an I- behind O or behind another type begins one too.
    """
    found = set()
    begin, kind, before = 0, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        goes_on = mark in ("I", "E") and before in ("B", "I") and name == kind
        if before != "O" and not goes_on:
            found.add((kind, begin, place))
        if mark != "O" and not goes_on:
            begin = place
        before, kind = mark, name if mark != "O" else ""
    return found


def marks_entities(names: Sequence[str]) -> bool:
    """Whether the names of classes are O and marks of entities: B-, I-, E-, S-, or L- and U- never."""
    return "O" in names and all(name == "O" or name[:2] in ("B-", "I-", "E-", "S-") for name in names)


def tagging_metrics(
    tags: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], names: Sequence[str]
) -> dict[str, float]:
    """accuracy of the words, and f1, precision, recall: of whole entities where the classes mark such, else of the words,
    the mean over the classes (macro)."""
    pairs = [pair for true, found in zip(tags, predicted, strict=True) for pair in zip(true, found, strict=True)]
    words = float(np.mean([true == found for true, found in pairs])) if pairs else 0.0
    if marks_entities(names):
        right = there = given = 0
        for true, found in zip(tags, predicted, strict=True):
            expected, got = entities(true), entities(found)
            right, there, given = right + len(expected & got), there + len(expected), given + len(got)
        scores = [_scores(right, there, given)]
    else:
        counts = (collections.Counter(column) for column in zip(*pairs, strict=True)) if pairs else ({}, {})
        there_of, given_of = counts
        right_of = collections.Counter(true for true, found in pairs if true == found)
        seen = [name for name in names if name in there_of or name in given_of]
        scores = [_scores(right_of[name], there_of.get(name, 0), given_of.get(name, 0)) for name in seen]
    f1_score, precision, recall = (
        (float(np.mean(column)) for column in zip(*scores, strict=True)) if scores else (0, 0, 0)
    )
    return {"f1": f1_score, "precision": precision, "recall": recall, "accuracy": words}


def _scores(right: int, there: int, given: int) -> tuple[float, float, float]:
    """F1, precision, recall; 0 where there is nothing to divide by."""
    return 2 * right / max(there + given, 1), right / max(given, 1), right / max(there, 1)


def plain_answer(text: str) -> str:
    """An answer as SQuAD's script compares it: lower case, without punctuation and articles, single spaces.

    Source: Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1, and its evaluate-v1.1.py.
    """
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def answer_scores(answer: str, expected: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1 of the words) of an answer, each with the best of those expected; none expected: with no answer."""
    found = plain_answer(answer).split()
    pairs = [(found, plain_answer(one).split()) for one in expected or [""]]
    return max(float(a == b) for a, b in pairs), max(_overlap(a, b) for a, b in pairs)


def _overlap(found: list[str], expected: list[str]) -> float:
    if not found or not expected:
        return float(found == expected)
    common = sum((collections.Counter(found) & collections.Counter(expected)).values())
    return 2 * common / (len(found) + len(expected))


def cosines(firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(N,): the cosine of each of firsts (N, D) and its own of seconds (N, D)."""
    return (_unit(firsts) * _unit(seconds)).sum(axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def retrieval_metrics(firsts: np.ndarray, seconds: np.ndarray, temperature: float) -> dict[str, float]:
    """How well each of firsts (N, D) finds its own of seconds (N, D) among all of them, by cosine: loss (cross-entropy of the
    cosines over the temperature, nats), accuracy (the nearest is its own), mrr (the mean of 1 / its rank)."""
    first, second = (_unit(side) for side in (firsts, seconds))
    losses, ranks = [], []
    # By parts: not all N x N cosines at once.
    for start in range(0, len(first), 1024):
        cosines = first[start : start + 1024].astype(np.float64) @ second.T.astype(np.float64)
        own = cosines[np.arange(len(cosines)), start + np.arange(len(cosines))]
        ranks.append((cosines > own[:, None]).sum(axis=1) + 1)
        scaled = (cosines - own[:, None]) / temperature
        highest = scaled.max(axis=1, keepdims=True)
        losses.append(highest[:, 0] + np.log(np.exp(scaled - highest).sum(axis=1)))
    rank = np.concatenate(ranks)
    return {
        "loss": float(np.concatenate(losses).mean()),
        "accuracy": float((rank == 1).mean()),
        "mrr": float((1 / rank).mean()),
    }
