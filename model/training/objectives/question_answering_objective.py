"""The objective of answers: cross-entropy of the tokens where they begin and end. Devlin et al. 2018, section 4.2."""

import tensorflow as tf

from clozekit.model.tasks.question_answerer import QuestionAnswerer
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def answer_sums(task: QuestionAnswerer, batch: Batch, training: bool) -> Sums:
    """The sums of a batch with labels, int32 (B, 2): the first and the last token of the answer; 0 and 0 for none.

    Padding can be no answer, so that a row's loss does not depend on how long its batch is. Right are rows with both.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = tf.cast(task(inputs, training=training), tf.float32)
    padding = 1.0 - tf.cast(batch["padding_mask"], tf.float32)
    logits -= 1e9 * padding[:, :, None]
    losses, right = [], []
    for side in (0, 1):
        labels = batch["labels"][:, side]
        losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits[:, :, side]))
        right.append(tf.equal(tf.argmax(logits[:, :, side], axis=-1, output_type=tf.int32), labels))
    count = tf.cast(tf.shape(logits)[0], tf.float32)
    both = tf.cast(tf.logical_and(*right), tf.float32)
    return Sums(tf.reduce_sum(losses[0] + losses[1]) / 2.0, count, tf.reduce_sum(both))


OBJECTIVE = Objective(answer_sums)
