"""The settings of a sweep: what it tries, how it chooses, what it measures, when it stops a run, when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clozekit.tokenizers.settings.settings_files import check, check_choice

METHODS = ("grid", "random", "optuna")
SCALES = ("linear", "log")
LOWEST, HIGHEST = "lowest", "highest"
MEDIAN, HALVING = "median", "halving"
# They write a log of what they measure as they go, and can be stopped and gone on with.
TRAINED, MEASURED = ("train", "finetune"), ("train", "finetune", "evaluate")


@dataclass(frozen=True)
class Span:
    """All numbers from `low` to `high`, both included. scale: "linear", or "log", in which every factor is as likely as any
    other. whole: whole numbers alone. points: how many a grid takes, spread evenly over the scale."""

    low: float
    high: float
    scale: str = "linear"
    whole: bool = False
    points: int | None = None

    def __post_init__(self) -> None:
        check("a range of a sweep must have low below high", self.low < self.high, self.low, self.high)
        check_choice("scale of a range of a sweep", self.scale, SCALES)
        if self.scale == "log":
            check("a range of a sweep with scale: log must begin above 0", self.low > 0, self.low)
        if self.whole:
            is_whole = self.low % 1 == self.high % 1 == 0
            check("a range of a sweep with whole: true must have whole ends", is_whole, self.low, self.high)
        check("points of a range of a sweep must be at least 2", self.points is None or self.points >= 2, self.points)


@dataclass(frozen=True)
class MeasureSettings:
    """What decides. step: of `train` or `finetune`, or of `evaluate`; of a sweep that changes one of the former, that one if not given.
    metric: a name in the validation measures of a run, or a key of what `evaluate` answers. best: "lowest" or "highest"; if
    not given, the lowest of a loss or a perplexity and the highest of all else."""

    step: str | None = None
    metric: str = "loss"
    best: str | None = None

    def __post_init__(self) -> None:
        check_choice("sweep.measure.best", self.best or LOWEST, (LOWEST, HIGHEST))

    @property
    def is_lowest_best(self) -> bool:
        return self.best == LOWEST if self.best else self.metric.endswith(("loss", "perplexity"))


@dataclass(frozen=True)
class PruneSettings:
    """When a run is stopped that is losing, from `after_steps` on. rule: "median", as soon as its best validation measure so far is
    worse than the median of the best so far of the other runs at the same step (after Golovin et al. 2017, Google Vizier,
    section 3.2.1); or "halving", which judges it at after_steps, at reduction_factor times that, and so on, and stops it there
    if it is not among the best 1 in reduction_factor (Li et al. 2018, ASHA, arXiv 1810.05934). reduction_factor: of halving, 4 if not
    given, as Optuna has it. min_others: so many other runs must have come as far. step: the `train` or `finetune` that is
    stopped; the measured step, or the one before it, if not given."""

    after_steps: int
    rule: str = MEDIAN
    reduction_factor: int | None = None
    min_others: int = 3
    step: str | None = None

    def __post_init__(self) -> None:
        for name in ("after_steps", "min_others"):
            check(f"sweep.prune.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))
        check_choice("sweep.prune.rule", self.rule, (MEDIAN, HALVING))
        factor = self.reduction_factor
        is_used = factor is None or self.rule == HALVING
        check(
            "sweep.prune.reduction_factor goes with rule: halving",
            is_used,
            factor,
            advice="leave it out, or add the rule",
        )
        check("sweep.prune.reduction_factor must be at least 2", factor is None or factor >= 2, factor)

    @property
    def factor(self) -> int:
        """Of halving."""
        return 4 if self.reduction_factor is None else self.reduction_factor


@dataclass(frozen=True)
class SweepSettings:
    """The settings of a sweep beside the keys that it changes.

    method: "grid" runs all combinations, "random" draws them, "optuna" draws them by what the ones before measured. runs: how many runs
    at most, each seed of a combination is one. hours: in which runs of the sweep are at work, in all starts of it together. cost:
    at most, at price_per_hour for an hour of one run. at_once: how many runs at most are at work side by side; as many as
    there is room for if not given. seed: of what is drawn.
    """

    method: str = "grid"
    runs: int | None = None
    hours: float | None = None
    cost: float | None = None
    price_per_hour: float | None = None
    at_once: int | None = None
    seed: int = 0
    measure: MeasureSettings = MeasureSettings()
    prune: PruneSettings | None = None

    def __post_init__(self) -> None:
        check_choice("sweep.method", self.method, METHODS)
        for name in ("runs", "at_once"):
            number = getattr(self, name)
            check(f"sweep.{name} must be at least 1", number is None or number >= 1, number)
        for name in ("hours", "cost", "price_per_hour"):
            value = getattr(self, name)
            check(f"sweep.{name} must be above 0", value is None or value > 0, value)
        has_price = (self.cost is None) == (self.price_per_hour is None)
        advice = "give both, or neither"
        check("sweep.cost goes with sweep.price_per_hour", has_price, self.cost, self.price_per_hour, advice=advice)
        budgets = (self.runs, self.hours, self.cost)
        if self.method != "grid":
            rule = f"a sweep by method {self.method} must have an end"
            is_some = any(one is not None for one in budgets)
            check(rule, is_some, None, advice="give sweep.runs, sweep.hours or sweep.cost")


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was read. keys: dotted key of the recipe -> the values to try, a tuple or a range; seeds: dotted key -> values, of
    which the first ones belong together, and so on; measured, pruned: the steps; varied: the steps that are otherwise in each
    trial, the measured one among them."""

    keys: Mapping[str, tuple[Any, ...] | Span]
    seeds: Mapping[str, tuple[Any, ...]]
    settings: SweepSettings
    measured: str
    pruned: str | None
    varied: frozenset[str] = field(default_factory=frozenset)

    @property
    def seed_choices(self) -> list[dict[str, Any]]:
        """The changes of each seed; one without any where there are no seeds."""
        if not self.seeds:
            return [{}]
        return [dict(zip(self.seeds, values, strict=True)) for values in zip(*self.seeds.values(), strict=True)]

    @property
    def most_points(self) -> int | None:
        """How many combinations there are at most; None where only hours or money end the sweep."""
        runs = self.settings.runs
        number = None if runs is None else runs // len(self.seed_choices)
        size = grid_size(self.keys)
        return min((one for one in (number, size) if one is not None), default=None)


def grid_size(keys: Mapping[str, tuple[Any, ...] | Span]) -> int | None:
    """How many combinations there are; None with a range that is not a number of points."""
    size = 1
    for values in keys.values():
        number = values.points if isinstance(values, Span) else len(values)
        if number is None:
            return None
        size *= number
    return size
