"""What an objective is: the sums of a batch, whose loss training minimises. Each is a file beside this one."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import keras
import tensorflow as tf

from clozekit.model.tasks.task import Task
from clozekit.model.training.objectives.distillation import Teacher

Batch: TypeAlias = Mapping[str, tf.Tensor]


class Sums(NamedTuple):
    """What a batch adds: summed loss (nats, or squares), number of predictions, number of right ones, summed distance from the
    teacher, and loss, number, right ones and those to be answered by yes of a second prediction, 0 where there is none; float32
    scalars.

    They are divided once, after everything was summed: over micro-batches, replicas and steps.
    """

    loss: tf.Tensor
    count: tf.Tensor
    correct: tf.Tensor
    distillation: tf.Tensor | float = 0.0
    second_loss: tf.Tensor | float = 0.0
    second_count: tf.Tensor | float = 0.0
    second_correct: tf.Tensor | float = 0.0
    second_positive: tf.Tensor | float = 0.0


@dataclass(frozen=True)
class Second:
    """A second prediction, whose mean loss is added to the mean of the first: sum over count of the one, plus `weight` times sum over
    count of the other, each over the whole global batch.

    A step has one division, by the count of the first. So the second sum is multiplied by the ratio of the counts before its gradient
    is taken, and the counts, which the batches themselves say, are added up over all replicas before that.

    Args:
        name: what its measures are called in the log: NAME_loss, NAME_accuracy.
        counts: batch -> count and second_count of its `Sums`, float32 scalars.
        weight: of its mean loss, that of the first being 1.
        positive_share: what the log calls the share of predictions to be answered by yes; None: it doesn't say.
        ranked: (outputs, batch) -> how the answers are ranked, as `area_under_curve` of `ranks.py` takes it; None: nothing is.
    """

    name: str
    counts: Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]
    weight: float = 1.0
    positive_share: str | None = None
    ranked: Callable[[Any, Batch], tf.Tensor] | None = None


@dataclass(frozen=True)
class Objective:
    """What training minimises: the loss of a batch, as sums.

    Args:
        outputs: (task, batch, whether dropout is on) -> what the task makes of the batch, tensors; batch: name -> int32 (B, T) and
            what else the task needs.
        of_outputs: (outputs, batch) -> Sums, float32 scalars.
        is_right_or_wrong: whether `correct` means anything; a number is never right.
        distillation: (outputs, those of a teacher, batch, temperature) -> float32 scalar: how far they are apart, summed over what
            `count` counts; None: nothing can be learned from a teacher.
        teacher: what is learned from beside the labels, if anything.
        second: what is predicted besides, if anything.
        variables: task -> what of it is trained.

    Example:

        >>> from clozekit.model.training.objectives.objective import Objective, Sums
        >>> squares = Objective(
        ...     lambda task, batch, training: 2.0,
        ...     lambda outputs, batch: Sums(outputs * 3.0, 3.0, 0.0),
        ...     is_right_or_wrong=False,
        ... )
        >>> squares.measures(squares.sums(None, {}, True))
        {'loss': 2.0}
    """

    outputs: Callable[[Any, Batch, bool], Any]
    of_outputs: Callable[[Any, Batch], Sums]
    is_right_or_wrong: bool = True
    distillation: Callable[[Any, Any, Batch, float], tf.Tensor] | None = None
    teacher: Teacher | None = None
    second: Second | None = None
    variables: Callable[[Any], list[keras.Variable]] = lambda task: task.trainable_variables

    def sums(self, task: Any, batch: Batch, training: bool) -> Sums:
        """The sums of a batch."""
        outputs = self.outputs(task, batch, training)
        sums = self.of_outputs(outputs, batch)
        if self.teacher is None or self.distillation is None:
            return sums
        taught = tf.nest.map_structure(
            lambda part: tf.stop_gradient(part) if tf.is_tensor(part) else part,
            self.outputs(self.teacher.task, batch, False),
        )
        return sums._replace(distillation=self.distillation(outputs, taught, batch, self.teacher.temperature))

    def minimised(self, sums: Sums, balance: Any = None) -> Any:
        """What the gradient is of: the usual loss and the distance from the teacher by their weights, and the second loss; tensors or
        numbers. balance: that of the whole global batch, where `sums` are of a part of it."""
        first = self._first(sums)
        if self.second is None:
            return first
        balance = self.balance(sums.count, sums.second_count) if balance is None else balance
        return first + balance * sums.second_loss

    def balance(self, count: Any, second_count: Any) -> Any:
        """What the second loss is multiplied by, so that the sum of both over `count` is the sum of their means, the second by its
        weight."""
        weight = 1.0 if self.second is None else self.second.weight
        return weight * _at_least_one(count) / _at_least_one(second_count)

    def _first(self, sums: Sums) -> Any:
        weight = 0.0 if self.teacher is None else self.teacher.weight
        # Exactly one of them where the weight says so: 0 times infinity is no number.
        if weight in (0.0, 1.0):
            return sums.distillation if weight else sums.loss
        return (1.0 - weight) * sums.loss + weight * sums.distillation

    def measures(self, sums: Sums) -> dict[str, float]:
        """What the log says of sums, numbers here: loss, accuracy (0 to 1) where there is one, distillation_loss where there is a
        teacher, those of the second prediction by its name; no numbers where nothing counted."""
        count = sums.count or float("nan")
        values = {"loss": sums.loss / count}
        if self.is_right_or_wrong:
            values["accuracy"] = sums.correct / count
        if self.teacher is not None:
            values["distillation_loss"] = sums.distillation / count
        if self.second is not None:
            second_count = sums.second_count or float("nan")
            values[f"{self.second.name}_loss"] = sums.second_loss / second_count
            values[f"{self.second.name}_accuracy"] = sums.second_correct / second_count
            if self.second.positive_share is not None:
                values[self.second.positive_share] = sums.second_positive / second_count
        return values


def _at_least_one(count: Any) -> Any:
    return tf.maximum(count, 1.0) if tf.is_tensor(count) else max(count, 1.0)


def task_outputs(task: Task, batch: Batch, training: bool) -> tf.Tensor:
    """float32: what a task gives for those tensors of a batch that it takes; there may be labels, and inputs of a teacher of
    another family."""
    inputs = {name: batch[name] for name in task.backbone.input_names()}
    return tf.cast(task(inputs, training=training), tf.float32)


def objective_named(name: str) -> Objective:
    """The objective of a file beside this one.

    Args:
        name: of NAME_objective.py.

    Returns:
        The `OBJECTIVE` that it defines.

    Example:

        >>> from clozekit.model.training.objectives.objective import objective_named
        >>> objective_named("regression").is_right_or_wrong
        False
    """
    return cast(Objective, importlib.import_module(f"clozekit.model.training.objectives.{name}_objective").OBJECTIVE)
