"""The objective of several labels: the binary cross-entropy of each label of each text, their mean a text."""

import tensorflow as tf

from clozekit.model.training.objectives.distillation import label_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums, task_outputs


def label_sums(logits: tf.Tensor, batch: Batch) -> Sums:
    """The sums of logits with labels, both float32 (B, C): 1 where a text has the label. Right is a text with all labels right."""
    losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(batch["labels"], logits), axis=1)
    right = tf.reduce_all(tf.equal(logits > 0, batch["labels"] > 0.5), axis=1)
    count = tf.cast(tf.shape(logits)[0], tf.float32)
    return Sums(tf.reduce_sum(losses), count, tf.reduce_sum(tf.cast(right, tf.float32)))


def summed_divergence(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, temperature: float) -> tf.Tensor:
    """How far the labels of a student's texts are from a teacher's: the mean of a text's labels, summed."""
    return tf.reduce_sum(tf.reduce_mean(label_divergence(student, teacher, temperature), axis=1))


OBJECTIVE = Objective(task_outputs, label_sums, distillation=summed_divergence)
