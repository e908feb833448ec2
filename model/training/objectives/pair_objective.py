"""Masked tokens and sentence pairs: the mean loss of the masked tokens, plus the mean loss of what was done to the pairs.

Devlin et al. 2018 (arXiv 1810.04805, appendix A.2): "The training loss is the sum of the mean masked LM likelihood and the mean next
sentence prediction likelihood"; Lan et al. 2019 (arXiv 1909.11942, section 3.1) have the order of the sentences in its place. What the
labels mean, the dataset says: `prepare --pairs`.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from clozekit.model.tasks.masked_lm import MaskedLM, MaskedOutputs
from clozekit.model.training.objectives import masked_lm_objective
from clozekit.model.training.objectives.objective import Batch, Objective, Second, Sums


class PairOutputs(NamedTuple):
    """What a task makes of a batch of pairs: of its masked tokens, and logits (B, T, 2) at each position, float32, of which those
    at the first tokens of pairs count."""

    masked: MaskedOutputs
    pairs: tf.Tensor


def pair_outputs(task: MaskedLM, batch: Batch, training: bool) -> PairOutputs:
    """What a task with a head of pairs makes of a masked batch; the body runs once for both."""
    masked = task.masked_outputs(batch, training)
    return PairOutputs(masked, tf.cast(task.pair_logits_of(masked.hidden, training), tf.float32))


def pair_sums(outputs: PairOutputs, batch: Batch) -> Sums:
    """The sums of a masked batch with pair_labels, int32 (B, T): negative wherever no pair begins."""
    labels = batch["pair_labels"]
    begins = tf.cast(labels >= 0, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), outputs.pairs)
    right = tf.cast(tf.equal(tf.argmax(outputs.pairs, axis=-1, output_type=tf.int32), labels), tf.float32)
    return masked_lm_objective.outputs_sums(outputs.masked, batch)._replace(
        second_loss=tf.reduce_sum(losses * begins),
        second_count=tf.reduce_sum(begins),
        second_correct=tf.reduce_sum(right * begins),
    )


def counts(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Masked tokens and pairs of a batch."""
    return tf.reduce_sum(batch["mask_weights"]), tf.reduce_sum(tf.cast(batch["pair_labels"] >= 0, tf.float32))


def trained_variables(task: MaskedLM) -> list[keras.Variable]:
    """What a masked LM trains, the pooler and the head of pairs."""
    return [*task.trainable_variables, *task.pair_variables()]


OBJECTIVE = Objective(pair_outputs, pair_sums, second=Second("pair", counts), variables=trained_variables)
