"""Reads the sweep of a recipe: what of its keys is a setting that it tries, and what of it does not fit the steps."""

import dataclasses
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.workflow.sweeps.rules.sweep_settings import (
    MEASURED,
    TRAINED,
    MeasureSettings,
    PruneSettings,
    Span,
    Sweep,
    SweepSettings,
)
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import check, make_settings, nearest_key
from clozekit.tokenizers.settings.yaml_values import printable

_VALUES = "values"
# What stands in a sweep beside the keys that it changes.
SEEDS = "seeds"
# YAML takes these for text.
_NUMBER_WITHOUT_DOT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
# A grid of more is a mistake in a list.
_MOST_POINTS = 100_000


@dataclass(frozen=True)
class KnownSteps:
    """What a sweep must know of the steps of its recipe: name -> command, name -> the steps that come first, name -> the values
    of the recipe that its settings name; those that run elsewhere."""

    verbs: Mapping[str, str]
    before: Mapping[str, Sequence[str]]
    values: Mapping[str, Set[str]]
    elsewhere: Set[str]

    def needed_for(self, name: str) -> set[str]:
        """A step and all that it needs."""
        return {name}.union(*(self.needed_for(other) for other in self.before[name]))


def make_sweep(fields: Mapping[str, Any], steps: KnownSteps, source: str) -> Sweep:
    """The sweep that the keys under `sweep` make: those with a dot are settings of the recipe, all others its own.

    Raises InputError, one line that names the key, for whatever is wrong with it.
    """
    keys = {name: value for name, value in fields.items() if isinstance(name, str) and "." in name}
    own = {name: value for name, value in fields.items() if name not in keys and name != SEEDS}
    seeds = fields.get(SEEDS)
    seeds = {} if seeds is None else seeds
    check(f"sweep.seeds of {source} must be a mapping of settings to lists", isinstance(seeds, dict), seeds)
    check(f"sweep of {source} must change a setting", bool(keys) or bool(seeds), dict(fields), advice=_EXAMPLE)
    for name in (*keys, *seeds):
        _check_key(str(name), steps, source)
    made_keys = {name: _values(value, f"sweep.{name}", source) for name, value in keys.items()}
    made_seeds = {str(name): _list(value, f"sweep.seeds.{printable(name)}", source) for name, value in seeds.items()}
    settings = make_settings(SweepSettings, own, source, "sweep.")
    twice = sorted(set(made_keys) & set(made_seeds))
    check(f"a setting of the sweep of {source} is varied, or one of its seeds", not twice, twice)
    lengths = {name: len(values) for name, values in made_seeds.items()}
    check(f"sweep.seeds of {source} must be lists of one length", len(set(lengths.values())) <= 1, lengths)
    measured = _measured(settings.measure, [*made_keys, *made_seeds], steps, source)
    pruned = None if settings.prune is None else _pruned(settings.prune, measured, steps, source)
    needed = steps.needed_for(measured)
    for name in (*made_keys, *made_seeds):
        advice = f"measure a step behind it, or take it out of the sweep of {source}"
        rule = f"sweep.{name} must change the measured step {measured} or one that it needs"
        check(rule, bool(_changed_by(name, steps) & needed), name.partition(".")[0], advice=advice)
    _check_method(settings, made_keys, made_seeds, source)
    _check_elsewhere(settings, measured, steps, source)
    changed = set().union(*(_changed_by(name, steps) for name in (*made_keys, *made_seeds)))
    varied = frozenset(name for name in steps.verbs if steps.needed_for(name) & changed)
    sweep = Sweep(made_keys, made_seeds, settings, measured, pruned, varied)
    most = sweep.most_points
    rule = f"sweep.runs of {source} must be at least the number of seeds, {len(sweep.seed_choices)}"
    check(rule, most is None or most >= 1, settings.runs)
    is_few = settings.method != "grid" or (most or 0) <= _MOST_POINTS
    check(f"a grid of a sweep has at most {_MOST_POINTS:,} combinations", is_few, most, advice="give sweep.runs")
    return sweep


_EXAMPLE = "add train.optimizer.learning_rate: [5.0e-4, 1.0e-3]"


def _check_key(name: str, steps: KnownSteps, source: str) -> None:
    first, dot, rest = name.partition(".")
    if first not in (*steps.verbs, _VALUES) or not dot or not rest:
        shown = printable(name)
        known = (*steps.verbs, _VALUES)
        raise InputError(
            f"a setting of the sweep of {source} must begin with a step or values, got {shown};"
            f" {nearest_key(printable(first), [known], known)}"
        )


def _values(value: Any, key: str, source: str) -> tuple[Any, ...] | Span:
    if isinstance(value, dict):
        made: Span = make_settings(Span, value, source, f"{key}.")
        return made
    return _list(value, key, source)


def _list(value: Any, key: str, source: str) -> tuple[Any, ...]:
    advice = f"write {key}: [VALUE, VALUE]"
    is_list = isinstance(value, list) and bool(value)
    check(f"{key} of {source} must be a list of values or a range", is_list, value, advice=advice)
    made = tuple(as_number(one) for one in value)
    is_each_once = all(one not in made[:number] for number, one in enumerate(made))
    check(f"{key} of {source} must name each value once", is_each_once, value)
    return made


def as_number(value: Any) -> Any:
    """A value of YAML; 1e-3, which YAML takes for text, is a number."""
    return float(value) if isinstance(value, str) and _NUMBER_WITHOUT_DOT.fullmatch(value) else value


def _changed_by(name: str, steps: KnownSteps) -> set[str]:
    """The steps whose own settings a key changes."""
    first = name.partition(".")[0]
    if first in steps.verbs:
        return {first}
    key = name.split(".")[1]
    return {step for step, values in steps.values.items() if key in values}


def _measured(settings: MeasureSettings, keys: Sequence[str], steps: KnownSteps, source: str) -> str:
    if settings.step is not None:
        known = [name for name, verb in steps.verbs.items() if verb in MEASURED]
        rule = f"sweep.measure.step of {source} must be a step of {', '.join(MEASURED)}: {', '.join(known) or 'none'}"
        check(rule, settings.step in known, settings.step)
        return settings.step
    trained = [name for name, verb in steps.verbs.items() if verb in TRAINED]
    changed = [name for name in trained if any(key.startswith(f"{name}.") for key in keys)]
    found = changed if len(changed) == 1 else trained
    rule = f"sweep.measure of {source} must say which step is measured"
    check(rule, len(found) == 1, found, advice="add measure: {step: NAME}")
    return found[0]


def _pruned(settings: PruneSettings, measured: str, steps: KnownSteps, source: str) -> str:
    trained = [name for name, verb in steps.verbs.items() if verb in TRAINED and name in steps.needed_for(measured)]
    if settings.step is None:
        found = [measured] if measured in trained else trained
        rule = f"sweep.prune of {source} must say which step is stopped"
        check(rule, len(found) == 1, found, advice="add step: NAME")
        return found[0]
    rule = f"sweep.prune.step of {source} must be a step of {' or '.join(TRAINED)} that {measured} needs"
    check(rule, settings.step in trained, settings.step)
    return settings.step


def _check_elsewhere(settings: SweepSettings, measured: str, steps: KnownSteps, source: str) -> None:
    """Here the cores are the limit of what is asked of Optuna before anything was measured."""
    is_elsewhere = bool(steps.needed_for(measured) & steps.elsewhere)
    rule = (
        f"a sweep of {source} by optuna, of a step that runs elsewhere, must say how many runs are at work side by side"
    )
    fits = settings.method != "optuna" or not is_elsewhere or settings.at_once is not None
    check(rule, fits, settings.at_once, advice="give sweep.at_once")


def _check_method(settings: SweepSettings, keys: Mapping[str, Any], seeds: Mapping[str, Any], source: str) -> None:
    if settings.method != "grid":
        check(f"a sweep of {source} by method {settings.method} must vary a setting", bool(keys), dict(seeds))
        return
    for name, values in keys.items():
        advice = "add points: 4, or choose method: random"
        is_countable = not isinstance(values, Span) or values.points is not None
        shown = dataclasses.asdict(values) if isinstance(values, Span) else values
        check(
            f"the range sweep.{name} of {source} must say how many points a grid takes",
            is_countable,
            shown,
            advice=advice,
        )
