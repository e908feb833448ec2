"""What an objective is: the sums of a batch, whose loss training minimises. Each is a file beside this one."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import tensorflow as tf

Batch: TypeAlias = Mapping[str, tf.Tensor]


class Sums(NamedTuple):
    """What a batch adds: summed loss (nats, or squares), number of predictions, number of right ones; float32 scalars.

    They are divided once, after everything was summed: over micro-batches, replicas and steps.
    """

    loss: tf.Tensor
    count: tf.Tensor
    correct: tf.Tensor


@dataclass(frozen=True)
class Objective:
    """What training minimises: the loss of a batch, as sums.

    Args:
        sums: (task, batch, whether dropout is on) -> Sums, float32 scalars; batch: name -> int32 (B, T) and what else the
            task needs.
        is_right_or_wrong: whether `correct` means anything; a number is never right.

    Example:

        >>> from clozekit.model.training.objectives.objective import Objective, Sums
        >>> squares = Objective(lambda task, batch, training: Sums(6.0, 3.0, 0.0), is_right_or_wrong=False)
        >>> squares.measures(*squares.sums(None, {}, True))
        {'loss': 2.0}
    """

    sums: Callable[[Any, Batch, bool], Sums]
    is_right_or_wrong: bool = True

    def measures(self, loss: float, count: float, correct: float) -> dict[str, float]:
        """What the log says of sums: loss, and accuracy (0 to 1) where there is one; no numbers where nothing counted."""
        values = {"loss": loss / count if count else float("nan")}
        if self.is_right_or_wrong:
            values["accuracy"] = correct / count if count else float("nan")
        return values


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
