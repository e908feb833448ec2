"""The masked-LM loss and accuracy, as sums: they are divided once, after everything was summed."""

from typing import Any, NamedTuple

import tensorflow as tf


class Sums(NamedTuple):
    """What a batch adds: summed loss (nats), number of predictions, number of right ones; float32 scalars."""

    loss: tf.Tensor
    count: tf.Tensor
    correct: tf.Tensor


def masked_sums(task: Any, batch: dict[str, tf.Tensor], training: bool) -> Sums:
    """The sums of a masked batch; unused slots have the weight 0 in mask_weights, float32 (B, M)."""
    loss, correct = task.masked_sums(batch, training=training)
    return Sums(loss, tf.reduce_sum(batch["mask_weights"]), correct)
