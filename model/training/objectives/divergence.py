"""When training has gone wrong: the loss is no number, or far above what it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clozekit.model.training.settings.loop_settings import DivergenceSettings


@dataclass(frozen=True)
class Watch:
    """What is remembered of the loss. recent: (steps, summed loss, number of predictions) of the last loops, together
    about a window; lowest_loss: the lowest mean of a full window so far; num_bad_steps: of the loops in a row in which
    every step was skipped."""

    recent: tuple[tuple[int, float, float], ...] = ()
    lowest_loss: float | None = None
    num_bad_steps: int = 0

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Watch":
        recent = tuple((int(steps), float(loss), float(count)) for steps, loss, count in fields["recent"])
        return cls(recent, fields["lowest_loss"], fields["num_bad_steps"])


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and how many steps ago it had not begun yet."""

    reason: str
    num_steps: int


def watch_loop(
    watch: Watch, config: DivergenceSettings, steps: int, skipped: int, loss: float, count: float
) -> tuple[Watch, Trouble | None]:
    """What is remembered after `steps` more, of which `skipped` were skipped; loss and count: summed over the others."""
    num_bad_steps = watch.num_bad_steps + steps if skipped == steps else 0
    recent = [*watch.recent, (steps, loss, count)]
    # The shortest run of loops at the end that makes a full window.
    while sum(entry[0] for entry in recent[1:]) >= config.window_steps:
        recent.pop(0)
    full = sum(entry[0] for entry in recent) >= config.window_steps
    counted = sum(entry[2] for entry in recent)
    mean = sum(entry[1] for entry in recent) / counted if full and counted else None
    lowest = watch.lowest_loss
    if mean is not None:
        lowest = mean if lowest is None else min(lowest, mean)
    after = Watch(tuple(recent), lowest, num_bad_steps)
    if num_bad_steps >= config.num_bad_steps:
        reason = f"the gradients must be numbers, those of the last {num_bad_steps} steps were not"
        return after, Trouble(reason, num_bad_steps)
    if (
        config.loss_factor is not None
        and mean is not None
        and lowest is not None
        and mean > config.loss_factor * lowest
    ):
        reason = (
            f"the loss must not leave {config.loss_factor} times its lowest mean over {config.window_steps} steps,"
            f" {lowest:.3f}, it is {mean:.3f}"
        )
        return after, Trouble(reason, sum(entry[0] for entry in recent))
    return after, None
