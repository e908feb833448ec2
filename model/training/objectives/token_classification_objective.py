"""The objective of tagged words: cross-entropy of the class of each word's first token. Devlin et al. 2018, section 5.3."""

import tensorflow as tf

from clozekit.model.training.objectives.distillation import class_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums, task_outputs


def tag_sums(logits: tf.Tensor, batch: Batch) -> Sums:
    """The sums of logits (B, T, C) with labels, int32 (B, T): the numbers of the classes, negative for tokens that have none."""
    has_class = tf.cast(batch["labels"] >= 0, tf.float32)
    labels = tf.maximum(batch["labels"], 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels), tf.float32)
    return Sums(tf.reduce_sum(losses * has_class), tf.reduce_sum(has_class), tf.reduce_sum(right * has_class))


def summed_divergence(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, temperature: float) -> tf.Tensor:
    """How far the classes of a student's words are from a teacher's, summed over the tokens that have one."""
    has_class = tf.cast(batch["labels"] >= 0, tf.float32)
    return tf.reduce_sum(class_divergence(student, teacher, temperature) * has_class)


OBJECTIVE = Objective(task_outputs, tag_sums, distillation=summed_divergence)
