"""Classifying texts, or pairs of them, with a text classifier: the label of each and how sure the model is."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.tokenizers.common.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """A text's likeliest label and its probability, and those of all labels in the order of their ids; or, of a model
    that predicts a number, that number as `value` and nothing else."""

    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    value: float | None = None


def class_labels(task: TextClassifier) -> tuple[str, ...]:
    """The names of a classifier's classes, their ids where they have no names."""
    return tuple(task.labels or map(str, range(task.num_classes)))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """float64 (N, C): the softmax of logits (N, C)."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def classify_texts(task: TextClassifier, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
    """A prediction for each text, or for each text with its pair. A classifier of one class predicts a number."""
    if task.preprocessor is None:
        raise InputError("raw text needs a preprocessor, this task was built with preprocessor=None; give it one")
    if pairs is not None and len(pairs) != len(texts):
        raise InputError(f"each text must have its pair, got {len(texts)} texts and {len(pairs)} pairs")
    if not texts:
        return []
    outputs = np.asarray(task.predict(list(texts) if pairs is None else (list(texts), list(pairs)), verbose=0))
    if task.num_classes == 1:
        return [Prediction(None, None, {}, float(value)) for value in outputs[:, 0]]
    is_softmax = task.activation is keras.activations.softmax
    shares = outputs.astype(np.float64) if is_softmax else probabilities(outputs)
    names = class_labels(task)
    return [
        Prediction(names[best], float(row[best]), dict(zip(names, map(float, row), strict=True)))
        for row, best in zip(shares, shares.argmax(axis=1), strict=True)
    ]
