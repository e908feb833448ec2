"""One training step: micro-batches, sums reduced over replicas, one division, one update."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from clozekit.model.common.without_autograph import without_autograph
from clozekit.model.tasks.dropout_states import dropout_states
from clozekit.model.tasks.recomputed_blocks import recomputed_blocks
from clozekit.model.tasks.task import Task
from clozekit.model.training.cluster.workers import first_of, sum_of_replicas
from clozekit.model.training.objectives.objective import Objective, Sums
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.schedules import learning_rate, step_progress, warmup_share
from clozekit.model.training.settings.loop_settings import LoopSettings
from clozekit.model.training.stages import Stage


class Counts(NamedTuple):
    """What was read, int64: real tokens and places (padding too), rows that could not be read, slots for predictions,
    and positions that found none."""

    tokens: tf.Tensor
    places: tf.Tensor
    blank_rows: tf.Tensor
    slots: tf.Tensor
    overflow: tf.Tensor


class LoopResult(NamedTuple):
    """What several steps gave: the sums of those that were not skipped, what they read, how many were skipped, the last
    norm and learning rate, and how long this worker waited for data."""

    sums: Sums
    counts: Counts
    skipped: tf.Tensor
    gradient_norm: tf.Tensor
    learning_rate: tf.Tensor
    wait_seconds: tf.Tensor


def dropout_seeds(seed: int, num_layers: int, step: tf.Tensor, micro_batch: tf.Tensor) -> list[tf.Tensor]:
    """The random states of the layers in micro-batch number `micro_batch` of the whole global batch of `step`.

    So a resumed run drops the same units, and the same ones however the micro-batches are dealt to replicas.
    """
    # 256: a layer that is used again and again (ALBERT's) counts up from its state.
    count = tf.cast(step, tf.int64) * 256
    keys = [seed * 1_000_003 + layer + tf.cast(micro_batch, tf.int64) * 65_537 for layer in range(num_layers)]
    return [tf.stack([key % 2**31, count]) for key in keys]


@dataclass(frozen=True)
class BatchSizes:
    """Into which shapes batches are cut before they are computed, each compiled on its own.

    lengths_of: length of the rows as read -> the lengths that they are cut to, one of which `length_bin` numbers.
    num_slots_in: (tokens of a row, number of the stage) -> predictions it can have.
    """

    lengths_of: Callable[[int], tuple[int, ...]]
    num_slots_in: Callable[[int, int], int]


class TrainStep:
    """The inner loop: so many steps on the device for each call from the controller."""

    def __init__(
        self,
        task: Task,
        objective: Objective,
        optimizer: Optimizer,
        settings: LoopSettings,
        stages: Sequence[Stage],
        sizes: BatchSizes,
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._task = task
        self.objective = objective
        self._optimizer = optimizer
        self._settings = settings
        self._sizes = sizes
        self._strategy = strategy
        self._variables = [variable.value for variable in objective.variables(task)]
        # Asked for here, so that a batch that can't be shared is refused before anything starts.
        self._num_micro_batches = [stage.micro_batches(strategy.num_replicas_in_sync) for stage in stages]
        self._dropout_states = dropout_states(task)
        self._gradients = tf.function(self._summed_gradients, jit_compile=settings.xla, autograph=False)
        self.run_loop = tf.function(self._run_loop, autograph=False)

    def _summed_gradients(
        self, batch: dict[str, tf.Tensor], seeds: list[tf.Tensor], balance: tf.Tensor
    ) -> tuple[list[tf.Tensor], Sums]:
        """Gradients of the summed (not mean) loss of one micro-batch, dense, and the sums. balance: of the global batch, see
        `Objective.minimised`."""
        states = [(state, tf.cast(seed, state.dtype)) for state, seed in zip(self._dropout_states, seeds, strict=True)]
        # The random states are inputs here: what assigns to variables can neither be compiled nor run on replicas.
        recomputed = recomputed_blocks(self._settings.recompute)
        with keras.StatelessScope(states), recomputed, tf.GradientTape() as tape:
            sums = self.objective.sums(self._task, batch, True)
            loss = self.objective.minimised(sums, balance)
        gradients = tape.gradient(loss, self._variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

    def _binned_gradients(
        self, batch: dict[str, tf.Tensor], seeds: list[tf.Tensor], stage: int, balance: tf.Tensor
    ) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
        """Those of a batch, cut to the length of its bin, one compiled program for each; and int64 (2,): the length and
        the slots of the rows that it computed."""
        length, slots = (int(batch[name].shape[1]) if name in batch else 0 for name in ("token_ids", "mask_positions"))
        if "length_bin" not in batch:
            return *self._gradients(batch, seeds, balance), tf.constant([length, slots], tf.int64)
        whole = {name: value for name, value in batch.items() if name != "length_bin"}

        def of_bin(width: int) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
            # A row of at most `width` tokens has no more predictions than this.
            few = min(slots, self._sizes.num_slots_in(width, stage))
            return *self._gradients(cut_to(whole, width, few), seeds, balance), tf.constant([width, few], tf.int64)

        bins = self._sizes.lengths_of(length)
        return tf.switch_case(batch["length_bin"][0], [functools.partial(of_bin, width) for width in bins])

    def _replica_step(
        self, batch: dict[str, tf.Tensor], step: tf.Tensor, time_share: tf.Tensor, stage: int
    ) -> LoopResult:
        replica = tf.distribute.get_replica_context()
        pieces = self._num_micro_batches[stage]
        counted = {name: value for name, value in batch.items() if name != "mask_overflow"}
        split = {name: tf.split(value, pieces) for name, value in counted.items()}

        balance = tf.constant(1.0)
        if self.objective.second is not None:
            counts = tf.stack(self.objective.second.counts(batch))
            balance = self.objective.balance(*tf.unstack(sum_of_replicas(counts)))

        def piece_gradients(index: int) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
            number = replica.replica_id_in_sync_group * pieces + index
            seeds = dropout_seeds(self._settings.seed, len(self._dropout_states), step, number)
            return self._binned_gradients({name: parts[index] for name, parts in split.items()}, seeds, stage, balance)

        gradients, sums, size = piece_gradients(0)
        for index in range(1, pieces):
            more, more_sums, _ = piece_gradients(index)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            sums = Sums(*(a + b for a, b in zip(sums, more_sums, strict=True)))
        real = tf.reduce_sum(tf.cast(batch["padding_mask"], tf.int64), axis=1)
        # Not the static shape: tf.distribute may have hidden it.
        places, slots = tf.unstack(size * tf.shape(batch["token_ids"], tf.int64)[0])
        blank_rows = tf.reduce_sum(tf.cast(tf.equal(real, 0), tf.int64))
        overflow = tf.cast(tf.reduce_sum(batch.get("mask_overflow", tf.zeros([1], tf.int32))), tf.int64)
        read = tf.stack([tf.reduce_sum(real), places, blank_rows, slots, overflow])
        # One reduction of everything, then one division: the mean over all masked positions, wherever they were. What
        # follows is the same on every replica: the clipping, the finite check, the update.
        gradients, sums = sum_of_replicas((gradients, sums))
        # Apart: what is reduced together is of one type, and counts of tokens are too big for float32.
        counts = Counts(*tf.unstack(sum_of_replicas(read)))
        # A loss that is no number makes gradients that are none either, so that its step is skipped too.
        count = tf.where(tf.math.is_finite(self.objective.minimised(sums)), tf.maximum(sums.count, 1.0), float("nan"))
        rate = self._learning_rate(time_share)
        norm = self._optimizer.apply([gradient / count for gradient in gradients], rate)
        finite = tf.math.is_finite(norm)
        used = Sums(*(tf.where(finite, part, 0.0) for part in sums))
        skipped = tf.cast(tf.logical_not(finite), tf.int32)
        return LoopResult(used, counts, skipped, norm, rate, tf.constant(0.0, tf.float64))

    def _learning_rate(self, time_share: tf.Tensor) -> tf.Tensor:
        steps, optimizer = self._settings.steps, self._settings.optimizer
        if self._settings.is_endless:
            # Of a run that follows a stream the host says how far the rate has risen.
            return optimizer.learning_rate * tf.clip_by_value(time_share, 0.0, 1.0)
        if self._settings.hours is not None:
            return learning_rate(time_share, optimizer.warmup_rate, optimizer)
        progress = step_progress(self._optimizer.updates, steps)
        return learning_rate(progress, warmup_share(optimizer, steps), optimizer)

    def _next_batch(
        self, batches: Iterator[dict[str, tf.Tensor]], after: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The next batch, asked for when `after` is there, and the seconds it took to come.

        Nothing may look at the batch before the clock was read: a core that has the step to compute would read it last, and
        the wait would be the whole step (seen on one core: 99.9% where the batch was there already).
        """
        with tf.control_dependencies([after]):
            started = tf.timestamp()
        with tf.control_dependencies([started]):
            batch = next(batches)
        parts = tf.nest.flatten(batch, expand_composites=True)
        with tf.control_dependencies(parts):
            ended = tf.timestamp()
        with tf.control_dependencies([ended]):
            seen = [_where_it_is(part) for part in parts]
        return tf.nest.pack_sequence_as(batch, seen, expand_composites=True), ended - started

    def _run_loop(
        self,
        batches: Iterator[dict[str, tf.Tensor]],
        first_step: tf.Tensor,
        num_steps: tf.Tensor,
        time_share: tf.Tensor | float = 0.0,
        time_share_a_step: tf.Tensor | float = 0.0,
        stage: int = 0,
    ) -> LoopResult:
        """Runs steps of one stage. time_share: of the hours that a run may take, what is used before the first step; of an
        endless run how far its learning rate has risen."""
        zero, none = tf.constant(0.0), tf.constant(0, tf.int64)
        counts = Counts(none, none, none, none, none)
        total = LoopResult(
            Sums(*(zero for _ in Sums._fields)), counts, tf.constant(0), zero, zero, tf.constant(0.0, tf.float64)
        )
        replica_step = without_autograph(functools.partial(self._replica_step, stage=stage))

        def one_step(index: tf.Tensor, total: LoopResult) -> tuple[tf.Tensor, LoopResult]:
            batch, seconds = self._next_batch(batches, total.gradient_norm)
            share = time_share + time_share_a_step * (tf.cast(index, tf.float32) + 1.0)
            results = self._strategy.run(replica_step, (batch, first_step + index, share))
            result = first_of(self._strategy, results)
            return index + 1, LoopResult(
                Sums(*(a + b for a, b in zip(total.sums, result.sums, strict=True))),
                Counts(*(a + b for a, b in zip(total.counts, result.counts, strict=True))),
                total.skipped + result.skipped,
                result.gradient_norm,
                result.learning_rate,
                total.wait_seconds + seconds,
            )

        _, total = tf.while_loop(lambda index, _: index < num_steps, one_step, (tf.constant(0), total))
        return total


def _where_it_is(value: tf.Tensor) -> tf.Tensor:
    with tf.device(value.device):
        return tf.identity(value)


def cut_to(batch: dict[str, tf.Tensor], width: int, slots: int) -> dict[str, tf.Tensor]:
    """A batch of rows without their last columns and slots, where both are known to be empty."""
    widths = dict.fromkeys(("mask_positions", "mask_ids", "mask_weights", "mask_dice"), slots)
    # A label is one value a row.
    return {
        name: value if len(value.shape) == 1 else value[:, : widths.get(name, width)] for name, value in batch.items()
    }
