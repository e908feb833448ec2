"""Classifying texts, or pairs of them, with a text classifier: the label of each and how sure the model is."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.tokenizers.common.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """A text's likeliest label and its probability, and those of all labels in the order of their ids; of a model for
    several labels those that are likelier than not as `labels` and no `label`; of one that predicts a number that number
    as `value` and nothing else, of several numbers them by their names as `values`."""

    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    value: float | None = None
    labels: tuple[str, ...] | None = None
    values: dict[str, float] | None = None


def class_labels(task: TextClassifier) -> tuple[str, ...]:
    """The names of a classifier's classes, their ids where they have no names."""
    return tuple(task.labels or map(str, range(task.num_classes)))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """float64 (N, C): the softmax of logits (N, C)."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """float64, of the same shape; without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def _several(shares: dict[str, float]) -> Prediction:
    return Prediction(None, None, shares, labels=tuple(name for name, share in shares.items() if share > 0.5))


def classify_texts(task: TextClassifier, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
    """A prediction for each text, or for each text with its pair, as the classifier's `problem` wants it."""
    if task.preprocessor is None:
        raise InputError("raw text needs a preprocessor, this task was built with preprocessor=None; give it one")
    if pairs is not None and len(pairs) != len(texts):
        raise InputError(f"each text must have its pair, got {len(texts)} texts and {len(pairs)} pairs")
    if not texts:
        return []
    outputs = np.asarray(task.predict(list(texts) if pairs is None else (list(texts), list(pairs)), verbose=0))
    names = class_labels(task)
    if task.problem == "regression":
        if task.num_classes == 1:
            return [Prediction(None, None, {}, float(value)) for value in outputs[:, 0]]
        return [Prediction(None, None, {}, values=dict(zip(names, map(float, row), strict=True))) for row in outputs]
    if task.problem == "multi_label":
        each = outputs if task.activation is keras.activations.sigmoid else sigmoid(outputs)
        return [_several(dict(zip(names, map(float, row), strict=True))) for row in each]
    is_softmax = task.activation is keras.activations.softmax
    shares = outputs.astype(np.float64) if is_softmax else probabilities(outputs)
    return [
        Prediction(names[best], float(row[best]), dict(zip(names, map(float, row), strict=True)))
        for row, best in zip(shares, shares.argmax(axis=1), strict=True)
    ]
