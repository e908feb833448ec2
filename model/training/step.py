"""One training step: micro-batches, sums reduced over replicas, one division, one update."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from clozekit.model.training.config import MAX_MICRO_BATCHES, RunConfig
from clozekit.model.training.loss import Sums, masked_sums
from clozekit.model.training.optimizers import AdamW
from clozekit.model.training.schedules import linear_warmup_and_decay


class LoopResult(NamedTuple):
    """What several steps gave: their sums, real tokens read, steps skipped, and the last norm and learning rate."""

    sums: Sums
    tokens: tf.Tensor
    skipped: tf.Tensor
    gradient_norm: tf.Tensor
    learning_rate: tf.Tensor


def dropout_states(task: Any) -> list[tf.Variable]:
    """The random state of every layer of the task that has one, in a fixed order."""
    layers = task._flatten_layers(include_self=False, recursive=True)
    generators = [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None) is not None]
    # A layer that is reachable twice is listed twice.
    return list({id(generator): generator.state.value for generator in generators}.values())


class TrainStep:
    """The inner loop: so many steps on the device for each call from the controller."""

    def __init__(self, task: Any, optimizer: AdamW, config: RunConfig, strategy: tf.distribute.Strategy) -> None:
        self._task = task
        self._optimizer = optimizer
        self._config = config
        self._strategy = strategy
        self._variables = [variable.value for variable in task.trainable_variables]
        self._dropout_states = dropout_states(task)
        self._gradients = tf.function(self._summed_gradients, jit_compile=config.train.xla)
        self.run_loop = tf.function(self._run_loop)

    def _summed_gradients(self, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], Sums]:
        """Gradients of the summed (not mean) loss of one micro-batch, dense, and the sums."""
        with tf.GradientTape() as tape:
            sums = masked_sums(self._task, batch, training=True)
        gradients = tape.gradient(sums.loss, self._variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

    def _replica_step(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> LoopResult:
        # Each layer's random state is set from (seed, layer, step), so a resumed run drops the same units.
        for index, state in enumerate(self._dropout_states):
            key = self._config.seed * 1_000_003 + index
            state.assign(tf.cast(tf.stack([key % 2**31, step * MAX_MICRO_BATCHES]), state.dtype))
        pieces = self._config.train.num_micro_batches
        split = {name: tf.split(value, pieces) for name, value in batch.items()}
        gradients, sums = self._gradients({name: parts[0] for name, parts in split.items()})
        for index in range(1, pieces):
            more, more_sums = self._gradients({name: parts[index] for name, parts in split.items()})
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            sums = Sums(*(a + b for a, b in zip(sums, more_sums, strict=True)))
        tokens = tf.cast(tf.reduce_sum(batch["padding_mask"]), tf.int64)
        # One reduction of everything, then one division: the mean over all masked positions, wherever they were.
        replica = tf.distribute.get_replica_context()
        gradients, sums, tokens = replica.all_reduce(tf.distribute.ReduceOp.SUM, (gradients, sums, tokens))
        count = tf.maximum(sums.count, 1.0)
        train, optimizer = self._config.train, self._config.optimizer
        rate = linear_warmup_and_decay(
            self._optimizer.updates, optimizer.learning_rate, round(optimizer.warmup_rate * train.steps), train.steps
        )
        norm = self._optimizer.apply([gradient / count for gradient in gradients], rate)
        skipped = tf.cast(tf.logical_not(tf.math.is_finite(norm)), tf.int32)
        return LoopResult(Sums(*sums), tokens, skipped, norm, rate)

    def _run_loop(
        self, batches: Iterator[dict[str, tf.Tensor]], first_step: tf.Tensor, num_steps: tf.Tensor
    ) -> LoopResult:
        zero = tf.constant(0.0)
        total = LoopResult(Sums(zero, zero, zero), tf.constant(0, tf.int64), tf.constant(0), zero, zero)
        for index in tf.range(num_steps):
            result = self._strategy.run(self._replica_step, (next(batches), first_step + index))
            total = LoopResult(
                Sums(*(a + b for a, b in zip(total.sums, result.sums, strict=True))),
                total.tokens + result.tokens,
                total.skipped + result.skipped,
                result.gradient_norm,
                result.learning_rate,
            )
        return total
