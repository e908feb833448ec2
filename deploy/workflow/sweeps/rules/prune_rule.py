"""Which runs of a sweep are losing, by what each has measured so far: the rule of the median, and successive halving."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clozekit.deploy.workflow.sweeps.rules.sweep_settings import HALVING, PruneSettings

# What a run has measured so far, the first one first: (step, value).
Course = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Verdict:
    """A run is losing: at `step` its best so far was `value`, and `needed` is what would have been good enough to go on."""

    step: int
    value: float
    needed: float


def verdict(mine: Course, others: Sequence[Course], settings: PruneSettings, is_lowest_best: bool) -> Verdict | None:
    """Whether a run is to be stopped where it stands now; None to let it go on. A function of what was measured alone: any leader
    that reads the same says the same.

    The rule of the median is that of Golovin et al. 2017 (Google Vizier, section 3.2.1) with two changes: the others count with
    their best so far, not with their running average, as the loss of a run falls steadily; and those that still run count too, as
    soon as they have come as far.

    Halving is ASHA (Li et al. 2018, arXiv 1810.05934, algorithm 2), in its form in which runs are stopped, not paused: a run is
    judged at the last rung that it has reached, and goes on if it is among the best 1 in `reduction_factor` of all that
    have reached it.

    Example:

        >>> from clozekit.deploy.workflow.sweeps.rules.prune_rule import verdict
        >>> from clozekit.deploy.workflow.sweeps.rules.sweep_settings import PruneSettings
        >>> others = [[(10, 5.0), (20, 4.0)], [(10, 5.5), (20, 4.5)], [(10, 5.2)]]
        >>> verdict([(10, 6.0)], others, PruneSettings(after_steps=10), True)
        Verdict(step=10, value=6.0, needed=5.2)
        >>> verdict([(10, 6.0), (20, 5.9)], others, PruneSettings(after_steps=10), True) is None
        True
        >>> verdict([(10, 5.1)], others, PruneSettings(after_steps=10, rule="halving"), True)
        Verdict(step=10, value=5.1, needed=5.0)
    """
    if not mine or mine[-1][0] < settings.after_steps:
        return None
    step = mine[-1][0]
    if settings.rule == HALVING:
        *_, rung = rungs(settings, step)
        step = next(at for at, _ in mine if at >= rung)
    there = [best_until(other, step, is_lowest_best) for other in others if other and other[-1][0] >= step]
    reached = [value for value in there if value is not None]
    value = best_until(mine, step, is_lowest_best)
    if value is None or len(reached) < settings.min_others:
        return None
    needed = (
        _worst_kept([*reached, value], settings.factor, is_lowest_best)
        if settings.rule == HALVING
        else statistics.median(reached)
    )
    is_worse = value > needed if is_lowest_best else value < needed
    return Verdict(step, value, needed) if is_worse else None


def rungs(settings: PruneSettings, step: int) -> Iterator[int]:
    """The steps up to `step` at which halving judges a run: `after_steps`, and from there on each the factor times the one before.

    Example:

        >>> from clozekit.deploy.workflow.sweeps.rules.prune_rule import rungs
        >>> from clozekit.deploy.workflow.sweeps.rules.sweep_settings import PruneSettings
        >>> list(rungs(PruneSettings(after_steps=50, rule="halving", reduction_factor=3), 1000))
        [50, 150, 450]
    """
    rung = settings.after_steps
    while rung <= step:
        yield rung
        rung *= settings.factor


def _worst_kept(values: Sequence[float], factor: int, is_lowest_best: bool) -> float:
    """The last of the best 1 in `factor`, of which there is always one."""
    return sorted(values, reverse=not is_lowest_best)[max(1, len(values) // factor) - 1]


def best_until(course: Course, step: int, is_lowest_best: bool) -> float | None:
    """The best value that a run had measured when it was at a step, None where it had measured nothing."""
    values = [value for at, value in course if at <= step]
    if not values:
        return None
    return min(values) if is_lowest_best else max(values)
