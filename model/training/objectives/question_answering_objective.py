"""The objective of answers: cross-entropy of the tokens where they begin and end. Devlin et al. 2018, section 4.2."""

import tensorflow as tf

from clozekit.model.tasks.question_answerer import QuestionAnswerer
from clozekit.model.training.objectives.distillation import class_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums, task_outputs


def answer_logits(task: QuestionAnswerer, batch: Batch, training: bool) -> tf.Tensor:
    """float32 (B, T, 2). Padding can be no answer, so that a row's loss does not depend on how long its batch is."""
    padding = 1.0 - tf.cast(batch["padding_mask"], tf.float32)
    return task_outputs(task, batch, training) - 1e9 * padding[:, :, None]


def answer_sums(logits: tf.Tensor, batch: Batch) -> Sums:
    """The sums of logits (B, T, 2) with labels, int32 (B, 2): the first and the last token of the answer; 0 and 0 for none.

    Right are rows with both.
    """
    losses, right = [], []
    for side in (0, 1):
        labels = batch["labels"][:, side]
        losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits[:, :, side]))
        right.append(tf.equal(tf.argmax(logits[:, :, side], axis=-1, output_type=tf.int32), labels))
    count = tf.cast(tf.shape(logits)[0], tf.float32)
    both = tf.cast(tf.logical_and(*right), tf.float32)
    return Sums(tf.reduce_sum(losses[0] + losses[1]) / 2.0, count, tf.reduce_sum(both))


def summed_divergence(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, temperature: float) -> tf.Tensor:
    """How far the tokens where a student's answers begin and end are from a teacher's: the mean of the two, summed."""
    # (B, T, 2) -> (B, 2, T): a softmax over the tokens of a row.
    students, teachers = (tf.transpose(logits, [0, 2, 1]) for logits in (student, teacher))
    return tf.reduce_sum(class_divergence(students, teachers, temperature)) / 2.0


OBJECTIVE = Objective(answer_logits, answer_sums, distillation=summed_divergence)
