"""The objective of classes: cross-entropy of each text's class. Devlin et al. 2018 (arXiv 1810.04805, section 4.1)."""

import tensorflow as tf

from clozekit.model.training.objectives.distillation import class_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums, task_outputs


def class_sums(logits: tf.Tensor, batch: Batch) -> Sums:
    """The sums of logits (B, C) with labels, int32 (B,): the numbers of the classes."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], logits)
    right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), batch["labels"])
    count = tf.cast(tf.shape(logits)[0], tf.float32)
    return Sums(tf.reduce_sum(losses), count, tf.reduce_sum(tf.cast(right, tf.float32)))


def summed_divergence(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, temperature: float) -> tf.Tensor:
    """How far the classes of a student's texts are from a teacher's, summed."""
    return tf.reduce_sum(class_divergence(student, teacher, temperature))


OBJECTIVE = Objective(task_outputs, class_sums, distillation=summed_divergence)
