"""Replaced-token detection: a generator predicts masked tokens, and a discriminator says which tokens are its samples.

Clark et al. 2020 (arXiv 2003.10555, section 2): samples of the generator stand in the place of masked tokens, one that is the token
that was there counts as original; the mean loss of the masked tokens, plus 50 times the mean binary loss of all tokens that are no
padding, special ones too. No gradient goes through the samples.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from clozekit.model.common.row_sums import add_at
from clozekit.model.layers.masked_lm_head import CHUNK_LOGITS, one_at_a_time
from clozekit.model.tasks.masked_lm import MaskedLM, MaskedOutputs
from clozekit.model.training.objectives import masked_lm_objective
from clozekit.model.training.objectives.objective import Batch, Objective, Second, Sums
from clozekit.model.training.objectives.ranks import histograms

# Columns of probabilities that are summed up at once.
_BLOCK = 128


class ReplacedOutputs(NamedTuple):
    """What a task makes of a batch: of its masked tokens, logits (B, T) of the tokens that the discriminator read, float32, and
    which of these are others than those that were there, bool (B, T)."""

    masked: MaskedOutputs
    detection: tf.Tensor
    is_replaced: tf.Tensor


def sample(logits: tf.Tensor, dice: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """int32 (N,): an id from the softmax of each of logits (N, V) over a temperature, where its running sum reaches dice, (N,) from 0
    to 1, of the whole.

    One number decides, not V of them as with Gumbel's noise, and the same number and logits give the same id. A piece that fills the
    vocabulary up has the probability 0 and is never drawn.
    """
    num_pieces = logits.shape[1]
    num_blocks = -(-num_pieces // _BLOCK)
    scaled = tf.cast(logits, tf.float32) / temperature
    # Not normalised: dice are measured against the sum.
    likely = tf.exp(scaled - tf.reduce_max(scaled, axis=1, keepdims=True))
    blocks = tf.reshape(tf.pad(likely, [[0, 0], [0, num_blocks * _BLOCK - num_pieces]]), [-1, num_blocks, _BLOCK])
    # First the block, then the piece inside: sums along a few columns in place of all.
    of_blocks = tf.cumsum(tf.reduce_sum(blocks, axis=2), axis=1)
    wanted = dice * of_blocks[:, -1]
    block = _first_above(of_blocks, wanted)
    before = tf.where(block > 0, tf.gather(of_blocks, tf.maximum(block - 1, 0), batch_dims=1), 0.0)
    inside = tf.gather(blocks, block, batch_dims=1)
    sums = tf.cumsum(inside, axis=1)
    # Where the two ways of summing round apart, the last piece that has any probability.
    place = tf.minimum(_first_above(sums, wanted - before), _last_positive(inside))
    return block * _BLOCK + place


def _first_above(sums: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """int32 (N,): the first column of sums (N, M) above values (N,); the last column where none is."""
    below = tf.reduce_sum(tf.cast(sums <= values[:, None], tf.int32), axis=1)
    return tf.minimum(below, sums.shape[1] - 1)


def _last_positive(values: tf.Tensor) -> tf.Tensor:
    """int32 (N,): the last column of values (N, M) that is above 0."""
    return tf.reduce_max(tf.where(values > 0, tf.range(values.shape[1])[None, :], 0), axis=1)


def samples(masked: MaskedOutputs, batch: Batch, temperature: float) -> tf.Tensor:
    """int32 (B, M): what the generator puts in the place of each masked token; of as many logits at once as may be held."""
    shape, dice = batch["mask_positions"].shape, tf.reshape(batch["mask_dice"], [-1])
    if masked.logits is not None:
        logits = tf.reshape(tf.stop_gradient(masked.logits), [-1, masked.logits.shape[-1]])
        return tf.reshape(sample(logits, dice, temperature), tf.shape(batch["mask_positions"]))
    factors = masked.head.factors(masked.hidden, batch["mask_positions"])
    hidden, embedding, bias = (tf.stop_gradient(factor) for factor in factors)
    num_positions, num_pieces = int(shape[0]) * int(shape[1]), int(embedding.shape[0])
    chunk = max(1, min(num_positions, CHUNK_LOGITS // num_pieces))
    num_chunks = -(-num_positions // chunk)
    missing = num_chunks * chunk - num_positions
    hidden, dice = tf.pad(hidden, [[0, missing], [0, 0]]), tf.pad(dice, [[0, missing]])

    def one_chunk(index: tf.Tensor, state: tuple[tf.Tensor]) -> tuple[tf.Tensor]:
        start = index * chunk
        part = tf.slice(hidden, [start, 0], [chunk, hidden.shape[1]])
        logits = tf.cast(tf.matmul(part, embedding, transpose_b=True), tf.float32) + bias
        drawn = sample(logits, tf.slice(dice, [start], [chunk]), temperature)
        return (tf.tensor_scatter_nd_update(state[0], (start + tf.range(chunk))[:, None], drawn),)

    (drawn,) = one_at_a_time(num_chunks, one_chunk, (tf.zeros([num_chunks * chunk], tf.int32),))
    return tf.reshape(drawn[:num_positions], shape)


def replaced_outputs(task: MaskedLM, batch: Batch, training: bool, temperature: float = 1.0) -> ReplacedOutputs:
    """What a task with a generator makes of a masked batch with mask_dice, float32 (B, M), numbers between 0 and 1."""
    masked = task.masked_outputs(batch, training)
    positions, used = batch["mask_positions"], batch["mask_weights"] > 0
    drawn = samples(masked, batch, temperature)
    shown = tf.gather(batch["token_ids"], positions, batch_dims=1)
    length = batch["token_ids"].shape[1]
    # Differences are added, so that unused slots, which all name position 0, add nothing.
    token_ids = batch["token_ids"] + add_at(positions, tf.where(used, drawn - shown, 0), length)
    is_other = tf.logical_and(used, tf.not_equal(drawn, batch["mask_ids"]))
    is_replaced = add_at(positions, tf.cast(is_other, tf.int32), length) > 0
    logits = task.detection_logits({**batch, "token_ids": token_ids}, training)
    return ReplacedOutputs(masked, tf.cast(logits, tf.float32), is_replaced)


def replaced_sums(outputs: ReplacedOutputs, batch: Batch) -> Sums:
    """The sums of a masked batch."""
    real, yes = tf.cast(batch["padding_mask"], tf.float32), tf.cast(outputs.is_replaced, tf.float32)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=yes, logits=outputs.detection)
    right = tf.cast(tf.equal(outputs.detection > 0, outputs.is_replaced), tf.float32)
    return masked_lm_objective.outputs_sums(outputs.masked, batch)._replace(
        second_loss=tf.reduce_sum(losses * real),
        second_count=tf.reduce_sum(real),
        second_correct=tf.reduce_sum(right * real),
        second_positive=tf.reduce_sum(yes * real),
    )


def counts(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Masked tokens and real tokens of a batch."""
    return tf.reduce_sum(batch["mask_weights"]), tf.reduce_sum(tf.cast(batch["padding_mask"], tf.float32))


def ranked(outputs: ReplacedOutputs, batch: Batch) -> tf.Tensor:
    """Histograms of the discriminator's logits."""
    return histograms(outputs.detection, outputs.is_replaced, tf.cast(batch["padding_mask"], tf.float32))


def trained_variables(task: MaskedLM) -> list[keras.Variable]:
    """The generator's and the discriminator's."""
    return [*task.trainable_variables, *task.detection_variables()]


def replaced_objective(weight: float = 50.0, temperature: float = 1.0) -> Objective:
    """Replaced tokens with another weight of the discriminator's loss, or samples over another temperature."""

    def outputs(task: MaskedLM, batch: Batch, training: bool) -> ReplacedOutputs:
        return replaced_outputs(task, batch, training, temperature)

    second = Second("detection", counts, weight, positive_share="replaced_share", ranked=ranked)
    return Objective(outputs, replaced_sums, second=second, variables=trained_variables)


OBJECTIVE = replaced_objective()
