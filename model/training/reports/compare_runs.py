"""Runs side by side: what each reached, how long it took, when it was as good as a given loss, and where settings differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.model.training.run_directory.run_files import FINETUNE
from clozekit.model.training.run_directory.run_state import RunState
from clozekit.model.training.settings.finetune_settings import METRIC_NAMES
from clozekit.tokenizers.common.errors import InputError

NEVER = "not reached"
# They say where things stand, not how the run goes.
_PLACES = ("directory", "name", "preset", "dataset")


@dataclass(frozen=True)
class Measured:
    """Where a run stood at a step. seconds: of training, evaluations and checkpoints aside; cost: None where it has no price."""

    step: int
    tokens: int
    seconds: float
    cost: float | None


@dataclass(frozen=True)
class Compared:
    """A run in numbers. tokens_per_second: the median of the log. final_loss,
    best_loss: on the validation split, None where it was not measured; best_step: of the latter. distillation_loss: the last one
    of the training batches, None where there is no teacher.
    metric: what decides in a fine-tuning, and its best value. reached: when the loss that was asked for was first measured."""

    name: str
    directory: str
    kind: str
    state: str
    end: Measured
    tokens_per_second: float | None
    final_loss: float | None
    best_loss: float | None
    best_step: int | None
    distillation_loss: float | None
    metric: str | None
    best_metric: float | None
    reached: Measured | None


def compared(runs: Sequence[RunState], loss: float | None = None) -> list[Compared]:
    """The runs in numbers, in their order, each under a name of its own. loss: of the validation split, to be reached.

    Raises InputError for fewer than two runs, the same one twice, or a pretraining beside a fine-tuning.
    """
    if len(runs) < 2:
        raise InputError(f"a comparison is of two runs or more, got {len(runs)}; name another directory")
    kinds = {run.kind for run in runs}
    if len(kinds) > 1:
        listed = ", ".join(f"{run.directory} a {_KINDS[run.kind]}" for run in runs)
        raise InputError(
            f"only runs of one kind compare, {listed}; compare the pretrainings and the fine-tunings apart"
        )
    return [_compared(run, name, loss) for run, name in zip(runs, names_of(runs), strict=True)]


_KINDS = {"train": "pretraining", FINETUNE: "fine-tuning"}


def names_of(runs: Sequence[RunState]) -> list[str]:
    """The names of the runs; with their directories where two have one name."""
    names = [run.name for run in runs]
    return [run.directory if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def _compared(run: RunState, name: str, loss: float | None) -> Compared:
    points = course(run)
    validation = [entry for entry in run.of_kind("validation") if _number(entry["loss"]) is not None]
    best = min(validation, key=lambda entry: entry["loss"], default=None)
    reached = next((entry for entry in validation if loss is not None and entry["loss"] <= loss), None)
    end = points[-1] if points else Measured(0, 0, 0.0, None)
    metric = deciding_metric(run)
    values = [value for entry in run.of_kind("validation") if (value := _number(entry.get(metric or ""))) is not None]
    return Compared(
        name,
        run.directory,
        run.kind,
        run.state,
        end,
        middle(
            [value for entry in run.of_kind("train") if (value := _number(entry.get("tokens_per_second"))) is not None]
        ),
        validation[-1]["loss"] if validation else None,
        best["loss"] if best else None,
        best["step"] if best else None,
        next(
            (
                value
                for entry in reversed(run.of_kind("train"))
                if (value := _number(entry.get("distillation_loss"))) is not None
            ),
            None,
        ),
        metric,
        max(values, default=None),
        None if reached is None else at_step(points, reached["step"]),
    )


def middle(values: Sequence[float]) -> float | None:
    """The median: the first look, which compiles, does not count."""
    return sorted(values)[len(values) // 2] if values else None


def deciding_metric(run: RunState) -> str | None:
    """What decides which weights of a fine-tuning are best."""
    if run.kind != FINETUNE:
        return None
    task = run.config.get("task", "classification")
    default, *_ = METRIC_NAMES.get(task, METRIC_NAMES["classification"])
    return str(run.config.get("metric") or default)


def course(run: RunState) -> list[Measured]:
    """Where the run stood at each entry of its log, the first one first."""
    points: list[Measured] = []
    step, seconds = 0, 0.0
    for entry in run.of_kind("train"):
        seconds += (entry["step"] - step) * (_number(entry.get("step_seconds")) or 0.0)
        step = entry["step"]
        points.append(Measured(step, int(_number(entry.get("tokens_seen")) or 0), seconds, _number(entry.get("cost"))))
    return points


def at_step(points: Sequence[Measured], step: int) -> Measured:
    """Where a run stood at a step: at the first entry that is not before it."""
    return next(
        (point for point in points if point.step >= step), points[-1] if points else Measured(step, 0, 0.0, None)
    )


def curve(run: RunState, kind: str, name: str, over: str) -> tuple[list[float], list[float]]:
    """A number of the log over "step", "tokens" or "hours": where it was measured, and what it was."""
    points, entries = course(run), run.of_kind(kind)
    places, values = [], []
    for entry in entries:
        value = _number(entry.get(name))
        if value is None:
            continue
        point = at_step(points, entry["step"])
        places.append(
            {"step": float(entry["step"]), "tokens": float(point.tokens), "hours": point.seconds / 3600}[over]
        )
        values.append(value)
    return places, values


def differences(runs: Sequence[RunState]) -> dict[str, list[str]]:
    """Dotted key of the configuration -> its value in each run, where they are not all one; "" where a run has no such key."""
    flat = [dict(_flattened(run.config)) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one if key.split(".")[0] not in _PLACES)
    shown = {key: [_shown(one[key]) if key in one else "" for one in flat] for key in keys}
    return {key: values for key, values in shown.items() if len(set(values)) > 1}


def _flattened(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in fields.items():
        flat += _flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + str(name), value)]
    return flat


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def rows_of(runs: Sequence[Compared], loss: float | None) -> list[tuple[str, list[str]]]:
    """(what, its value in each run) as text; what no run has is left out."""
    rows: list[tuple[str, list[str]]] = [
        ("state", [run.state for run in runs]),
        ("steps", [f"{run.end.step:,}" for run in runs]),
        ("final validation loss", [_or_dash(run.final_loss, ".4f") for run in runs]),
        ("best validation loss", [_or_dash(run.best_loss, ".4f") for run in runs]),
        ("at step", [_or_dash(run.best_step, ",") for run in runs]),
        ("distillation loss", [_or_dash(run.distillation_loss, ".4f") for run in runs]),
        *_metric_row(runs),
        ("tokens", [f"{run.end.tokens:,}" for run in runs]),
        ("time of training", [duration(run.end.seconds) for run in runs]),
        ("tokens a second", [_or_dash(run.tokens_per_second, ",.0f") for run in runs]),
        ("cost", [_or_dash(run.end.cost, ",.2f") for run in runs]),
    ]
    if loss is not None:
        at = [run.reached for run in runs]
        rows += [
            (f"steps to loss {loss:g}", [NEVER if one is None else f"{one.step:,}" for one in at]),
            (f"tokens to loss {loss:g}", [NEVER if one is None else f"{one.tokens:,}" for one in at]),
            (f"time to loss {loss:g}", [NEVER if one is None else duration(one.seconds) for one in at]),
            (f"cost to loss {loss:g}", [_or_dash(None if one is None else one.cost, ",.2f") for one in at]),
        ]
    return [(what, values) for what, values in rows if any(value != "-" for value in values)]


def _metric_row(runs: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    names = {run.metric for run in runs if run.metric is not None}
    name = f"best {names.pop()}" if len(names) == 1 else "best deciding metric"
    return [(name, [_or_dash(run.best_metric, ".4f") for run in runs])]


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def duration(seconds: float) -> str:
    """Seconds for people: 41.5 s, 12 min 3 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
