"""The area under the ROC curve from histograms of logits, which add up over batches."""

import numpy as np
import tensorflow as tf

# Logits within this of 0 are told apart; more of them are as sure as sigmoids in float32 get.
_MOST = 16.0
_BINS = 4096


def histograms(logits: tf.Tensor, is_positive: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """float32 (2, 4096): how many of the answers no and yes have a logit in each of 4,096 equal bins from -16 to 16.

    logits, weights: float32 (...); is_positive: bool (...).
    """
    places = tf.cast((tf.clip_by_value(logits, -_MOST, _MOST) + _MOST) * ((_BINS - 1) / (2 * _MOST)) + 0.5, tf.int32)
    places += tf.cast(is_positive, tf.int32) * _BINS
    flat = tf.math.unsorted_segment_sum(tf.reshape(weights, [-1]), tf.reshape(places, [-1]), 2 * _BINS)
    return tf.reshape(flat, [2, _BINS])


def area_under_curve(counts: np.ndarray) -> float:
    """How likely a yes has a higher logit than a no, half of it where they are in one bin; no number where one of them is missing.

    Args:
        counts: float (2, N), of no and of yes, as `histograms` gives them, summed up.

    Example:

        >>> from clozekit.model.training.objectives.ranks import area_under_curve
        >>> area_under_curve(np.array([[1, 1, 0], [0, 1, 1]]))
        0.875
    """
    no, yes = np.asarray(counts, np.float64)
    below = np.cumsum(no) - no
    pairs = no.sum() * yes.sum()
    return float((yes * (below + no / 2)).sum() / pairs) if pairs else float("nan")
