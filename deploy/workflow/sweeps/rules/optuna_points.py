"""The next point of a sweep by Optuna's sampler TPE, from what the trials before it have measured."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clozekit.deploy.workflow.sweeps.rules.sweep_points import Point, draw, fitted
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Span, Sweep
from clozekit.tokenizers.common.extras import require_extras

COMPLETE, PRUNED, FAILED, RUNNING = "COMPLETE", "PRUNED", "FAIL", "RUNNING"
# Optuna draws 10 at random before it learns; of a short sweep that would be most of it.
_MOST_FIRST, _FIRST_SHARE = 10, 3
_MOST_ASKED = 50


@dataclass(frozen=True)
class Told:
    """A trial that was asked before. state: in Optuna's words, above; value: the mean of its runs; course: step -> value of the run
    that was pruned."""

    point: Point
    state: str
    value: float | None = None
    course: dict[int, float] = field(default_factory=dict)


def require_optuna() -> None:
    """Raises MissingExtraError, with what to install, where Optuna is not."""
    require_extras("a sweep with method: optuna", "sweep", instead=", or choose method: random")


def ask(sweep: Sweep, told: Sequence[Told]) -> Point | None:
    """The point of the next trial: a function of the recipe and of what the trials before it have measured. None where no new one is
    found: all were tried.

    Source: Bergstra et al. 2011 (Algorithms for Hyper-Parameter Optimization), section 4, as Optuna has it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {key: _distribution(values) for key, values in sweep.keys.items()}
    direction = "minimize" if sweep.settings.measure.is_lowest_best else "maximize"
    before = [one.point for one in told]
    most = sweep.most_points
    first = _MOST_FIRST if most is None else max(1, min(_MOST_FIRST, most // _FIRST_SHARE))
    with warnings.catch_warnings():
        # Of values that are no simple ones, as lists are, and of features that may change: the version is pinned.
        warnings.simplefilter("ignore")
        for number in range(_MOST_ASKED):
            # A sampler of its own for each trial: nothing of it has to be kept.
            seed = sweep.settings.seed * 1_000_003 + len(told) * _MOST_ASKED + number
            sampler = optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=first)
            study = optuna.create_study(direction=direction, sampler=sampler)
            for one in told:
                study.add_trial(_trial(one, distributions, sweep))
            params = study.ask(distributions).params
            point = {key: _value(values, params[key]) for key, values in sweep.keys.items()}
            if point not in before:
                return point
    # It asks for the same again and again: whatever is new.
    return next((point for number in range(1000) if (point := draw(sweep, number)) not in before), None)


def _distribution(values: tuple[Any, ...] | Span) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Span):
        # By number: it knows only simple values, and takes 1 for True.
        return CategoricalDistribution(tuple(range(len(values))))
    is_log = values.scale == "log"
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=is_log)
    return FloatDistribution(values.low, values.high, log=is_log)


def _value(values: tuple[Any, ...] | Span, found: Any) -> Any:
    return fitted(values, found) if isinstance(values, Span) else values[found]


def _trial(told: Told, distributions: dict[str, Any], sweep: Sweep) -> Any:
    from optuna.trial import TrialState, create_trial

    params = {
        key: told.point[key] if isinstance(values, Span) else _place(values, told.point[key])
        for key, values in sweep.keys.items()
    }
    return create_trial(
        state=TrialState[told.state],
        value=told.value if told.state == COMPLETE else None,
        params=params,
        distributions=distributions,
        intermediate_values=told.course,
    )


def _place(values: tuple[Any, ...], value: Any) -> int:
    return [json.dumps(one) for one in values].index(json.dumps(value))
