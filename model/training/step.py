"""One training step: micro-batches, sums reduced over replicas, one division, one update."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from clozekit.model.training.config import RunConfig
from clozekit.model.training.loss import Sums, masked_sums
from clozekit.model.training.optimizers import AdamW
from clozekit.model.training.schedules import linear_warmup_and_decay
from clozekit.model.training.workers import first_of
from clozekit.tokenizers.errors import InputError


class LoopResult(NamedTuple):
    """What several steps gave: the sums of those that were not skipped, real tokens and places (padding too) read, steps
    skipped, the last norm and learning rate, and how long this worker waited for data."""

    sums: Sums
    tokens: tf.Tensor
    places: tf.Tensor
    skipped: tf.Tensor
    gradient_norm: tf.Tensor
    learning_rate: tf.Tensor
    wait_seconds: tf.Tensor


def dropout_states(task: Any) -> list[Any]:
    """The random state of every layer of the task that has one, in a fixed order."""
    layers = task._flatten_layers(include_self=False, recursive=True)
    generators = [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None) is not None]
    # A layer that is reachable twice is listed twice.
    return list({id(generator): generator.state for generator in generators}.values())


def dropout_seeds(seed: int, num_layers: int, step: tf.Tensor, micro_batch: tf.Tensor) -> list[tf.Tensor]:
    """The random states of the layers in micro-batch number `micro_batch` of the whole global batch of `step`.

    So a resumed run drops the same units, and the same ones however the micro-batches are dealt to replicas.
    """
    # 256: a layer that is used again and again (ALBERT's) counts up from its state.
    count = tf.cast(step, tf.int64) * 256
    keys = [seed * 1_000_003 + layer + tf.cast(micro_batch, tf.int64) * 65_537 for layer in range(num_layers)]
    return [tf.stack([key % 2**31, count]) for key in keys]


class TrainStep:
    """The inner loop: so many steps on the device for each call from the controller."""

    def __init__(self, task: Any, optimizer: AdamW, config: RunConfig, strategy: tf.distribute.Strategy) -> None:
        self._task = task
        self._optimizer = optimizer
        self._config = config
        self._strategy = strategy
        self._variables = [variable.value for variable in task.trainable_variables]
        self._num_micro_batches = micro_batches_a_replica(config, strategy.num_replicas_in_sync)
        self._dropout_states = dropout_states(task)
        self._gradients = tf.function(self._summed_gradients, jit_compile=config.train.xla)
        self.run_loop = tf.function(self._run_loop)

    def _summed_gradients(self, batch: dict[str, tf.Tensor], seeds: list[tf.Tensor]) -> tuple[list[tf.Tensor], Sums]:
        """Gradients of the summed (not mean) loss of one micro-batch, dense, and the sums."""
        states = [(state, tf.cast(seed, state.dtype)) for state, seed in zip(self._dropout_states, seeds, strict=True)]
        # The random states are inputs here: what assigns to variables can neither be compiled nor run on replicas.
        with keras.StatelessScope(states), tf.GradientTape() as tape:
            sums = masked_sums(self._task, batch, training=True)
        gradients = tape.gradient(sums.loss, self._variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

    def _replica_step(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> LoopResult:
        replica = tf.distribute.get_replica_context()
        pieces = self._num_micro_batches
        split = {name: tf.split(value, pieces) for name, value in batch.items()}

        def piece_gradients(index: int) -> tuple[list[tf.Tensor], Sums]:
            number = replica.replica_id_in_sync_group * pieces + index
            seeds = dropout_seeds(self._config.seed, len(self._dropout_states), step, number)
            return self._gradients({name: parts[index] for name, parts in split.items()}, seeds)

        gradients, sums = piece_gradients(0)
        for index in range(1, pieces):
            more, more_sums = piece_gradients(index)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            sums = Sums(*(a + b for a, b in zip(sums, more_sums, strict=True)))
        padding_mask = tf.cast(batch["padding_mask"], tf.int64)
        read = tf.stack([tf.reduce_sum(padding_mask), tf.size(padding_mask, out_type=tf.int64)])
        # One reduction of everything, then one division: the mean over all masked positions, wherever they were. What
        # follows is the same on every replica: the clipping, the finite check, the update.
        gradients, sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, (gradients, sums))
        # Apart: what is reduced together is of one type, and counts of tokens are too big for float32.
        tokens, places = tf.unstack(replica.all_reduce(tf.distribute.ReduceOp.SUM, read))
        # A loss that is no number makes gradients that are none either, so that its step is skipped too.
        count = tf.where(tf.math.is_finite(sums.loss), tf.maximum(sums.count, 1.0), float("nan"))
        train, optimizer = self._config.train, self._config.optimizer
        rate = linear_warmup_and_decay(
            self._optimizer.updates, optimizer.learning_rate, round(optimizer.warmup_rate * train.steps), train.steps
        )
        norm = self._optimizer.apply([gradient / count for gradient in gradients], rate)
        finite = tf.math.is_finite(norm)
        used = Sums(*(tf.where(finite, part, 0.0) for part in sums))
        skipped = tf.cast(tf.logical_not(finite), tf.int32)
        return LoopResult(used, tokens, places, skipped, norm, rate, tf.constant(0.0, tf.float64))

    def _next_batch(self, batches: Iterator[Any], after: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """The next batch, asked for when `after` is there, and the seconds it took to come."""
        with tf.control_dependencies([after]):
            started = tf.timestamp()
        with tf.control_dependencies([started]):
            batch = next(batches)
        with tf.control_dependencies(tf.nest.flatten(first_of(self._strategy, batch))):
            return batch, tf.timestamp() - started

    def _run_loop(self, batches: Iterator[Any], first_step: tf.Tensor, num_steps: tf.Tensor) -> LoopResult:
        zero, none = tf.constant(0.0), tf.constant(0, tf.int64)
        total = LoopResult(Sums(zero, zero, zero), none, none, tf.constant(0), zero, zero, tf.constant(0.0, tf.float64))
        for index in tf.range(num_steps):
            batch, seconds = self._next_batch(batches, total.gradient_norm)
            result = first_of(self._strategy, self._strategy.run(self._replica_step, (batch, first_step + index)))
            total = LoopResult(
                Sums(*(a + b for a, b in zip(total.sums, result.sums, strict=True))),
                total.tokens + result.tokens,
                total.places + result.places,
                total.skipped + result.skipped,
                result.gradient_norm,
                result.learning_rate,
                total.wait_seconds + seconds,
            )
        return total


def micro_batches_a_replica(config: RunConfig, num_replicas: int) -> int:
    """Micro-batches of one step on one replica. Raises InputError when the global batch can't be shared evenly."""
    rows, micro = config.train.global_batch_size, config.train.micro_batch_size
    share = rows // num_replicas
    if rows % num_replicas or (micro is not None and share % micro):
        unit = num_replicas * (micro or 1)
        raise InputError(
            f"train.global_batch_size must be a multiple of the replicas times train.micro_batch_size, got {rows} rows,"
            f" {num_replicas} replicas and micro-batches of {micro or share}; take {max(1, rows // unit) * unit}"
        )
    return 1 if micro is None else share // micro
