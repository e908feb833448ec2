"""The combinations of settings that a sweep tries, by grid or at random: functions of the recipe alone."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Span, Sweep

# Dotted key of the recipe -> the value in one trial.
Point = dict[str, Any]
# So many draws that were all there before: the space holds no others.
_MOST_DRAWS = 1000
_DIGITS = 4


def points_of(sweep: Sweep) -> Iterator[Point]:
    """The points of a sweep by grid or at random, each once; as many as `runs` allows, endless where only hours or money end it.

    Example:

        >>> from clozekit.deploy.workflow.sweeps.rules.sweep_points import points_of
        >>> from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Sweep, SweepSettings
        >>> list(points_of(Sweep({"train.seed": (1, 2)}, {}, SweepSettings(), "train", None)))
        [{'train.seed': 1}, {'train.seed': 2}]
    """
    made = _grid(sweep.keys) if sweep.settings.method == "grid" else drawn(sweep)
    yield from itertools.islice(made, sweep.most_points)


def _grid(keys: Mapping[str, tuple[Any, ...] | Span]) -> Iterator[Point]:
    lists = [spread(values) if isinstance(values, Span) else list(values) for values in keys.values()]
    for combination in itertools.product(*lists):
        yield dict(zip(keys, combination, strict=True))


def spread(span: Span) -> list[float | int]:
    """The points of a range in a grid, evenly over its scale, each once; its ends are the first and the last."""
    count = span.points or 2
    return list(dict.fromkeys(at_share(span, number / (count - 1)) for number in range(count)))


def at_share(span: Span, share: float) -> float | int:
    """The value at a share of the scale, 0 to 1; numbers that are not whole have four digits that count."""
    if span.scale == "log":
        value = math.exp(math.log(span.low) + share * (math.log(span.high) - math.log(span.low)))
    else:
        value = span.low + share * (span.high - span.low)
    return fitted(span, value)


def fitted(span: Span, value: float) -> float | int:
    """The number of the range that people would write for a value."""
    if span.whole:
        return int(min(max(round(value), span.low), span.high))
    return min(max(float(f"{value:.{_DIGITS}g}"), span.low), span.high)


def drawn(sweep: Sweep) -> Iterator[Point]:
    """Points at random, each once; ends where no new one is found."""
    seen: list[Point] = []
    misses = 0
    for number in itertools.count():
        point = draw(sweep, number)
        if point not in seen:
            misses = 0
            seen.append(point)
            yield point
        elif (misses := misses + 1) == _MOST_DRAWS:
            return


def draw(sweep: Sweep, number: int) -> Point:
    """The point of a number: of the seed of the sweep, the number and the name of the key."""
    return {key: _drawn_value(values, f"{sweep.settings.seed} {number} {key}") for key, values in sweep.keys.items()}


def _drawn_value(values: tuple[Any, ...] | Span, seed: str) -> Any:
    # Of a text: the same on every machine and in every version of Python.
    share = random.Random(seed).random()
    if not isinstance(values, Span):
        return values[int(share * len(values))]
    if not values.whole:
        return at_share(values, share)
    # Half a number more at each end, so that the ends are as likely as the others.
    low, high = values.low - 0.5, values.high + 0.5
    if values.scale == "log":
        return fitted(values, math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
    return fitted(values, low + share * (high - low))
