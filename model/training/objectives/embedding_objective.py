"""The objective of text embeddings: each text finds its pair among those of its group (in-batch negatives).

Source: van den Oord et al. 2018 (arXiv 1807.03748), section 2.3 (InfoNCE); Henderson et al. 2017 (arXiv 1705.00652), section
4.4 (the other pairs of a batch as negatives); Gao et al. 2021 (arXiv 2104.08821), section 2 (cosines over a temperature). Learned
from a teacher is how near each text is to the pairs of its group, whatever the teacher's width: Lin et al. 2020 (arXiv 2010.11386),
as DistillKLDivLoss of sentence-transformers.
"""

import tensorflow as tf

from clozekit.model.tasks.text_embedder import TextEmbedder
from clozekit.model.training.objectives.distillation import class_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums, task_outputs

# In front of the names of the inputs that are a pair's second text.
PAIR = "pair_"


def embedding_objective(temperature: float, group_size: int) -> Objective:
    """The objective whose negatives are the other pairs of a group: `group_size` rows that follow one another.

    A group is never divided, so that the loss is the same on any number of replicas and in any number of micro-batches.
    """

    def cosines(task: TextEmbedder, batch: Batch, training: bool) -> tf.Tensor:
        """float32 (B, group_size): how near each row is to the pairs of its group, over the temperature."""
        first, second = (
            tf.reshape(side, [-1, group_size, side.shape[-1]]) for side in unit_vectors(task, batch, training)
        )
        return tf.reshape(tf.matmul(first, second, transpose_b=True) / temperature, [-1, group_size])

    def pair_sums(logits: tf.Tensor, batch: Batch) -> Sums:
        """The sums of the cosines of a batch."""
        count = tf.shape(logits)[0]
        labels = tf.math.floormod(tf.range(count), group_size)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        return Sums(tf.reduce_sum(losses), tf.cast(count, tf.float32), tf.reduce_sum(tf.cast(right, tf.float32)))

    def summed_divergence(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, softening: float) -> tf.Tensor:
        """How far a student's softmax over the pairs of a group is from a teacher's, summed over the rows."""
        return tf.reduce_sum(class_divergence(student, teacher, softening))

    return Objective(cosines, pair_sums, distillation=summed_divergence)


def unit_vectors(task: TextEmbedder, batch: Batch, training: bool) -> list[tf.Tensor]:
    """float32 (B, D) each: the vectors of length 1 of a batch's rows and, under names that begin with `pair_`, of their pairs."""
    seconds = {name.removeprefix(PAIR): value for name, value in batch.items() if name.startswith(PAIR)}
    return [tf.math.l2_normalize(task_outputs(task, side, training), axis=-1) for side in (batch, seconds)]
