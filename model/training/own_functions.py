"""The user's own optimizer, schedule, masking and objective in a run: called once before it begins, noted in its log."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from clozekit.model.common.own_code import is_own, load_own, source_sha256
from clozekit.model.masking.mask_rows import RowsToMask, own_selection
from clozekit.model.training.objectives.objective import Objective, Sums
from clozekit.model.training.optimizers.optimizer import rule_of
from clozekit.model.training.schedules import learning_rate
from clozekit.model.training.settings.loop_settings import OptimizerSettings
from clozekit.tokenizers.common.errors import InputError

# What such an event is called in the log.
OWN_CODE = "own_code"


def own_names(named: Mapping[str, str | None]) -> dict[str, str]:
    """Those of `named`, key -> name, that are functions of the user's own."""
    return {key: name for key, name in named.items() if name is not None and is_own(name)}


def described(names: Mapping[str, str]) -> str:
    """Keys, names and hashes of the files that they are in, in one line; "" for none."""
    return ", ".join(f"{key}={name} sha256 {source_sha256(name)[:12]}" for key, name in sorted(names.items()))


def check_optimizer(settings: OptimizerSettings) -> None:
    """Calls what of the optimizer and the schedule is the user's own. Raises InputError unless it gives what is needed."""
    if is_own(settings.name):
        zeros, one = tf.zeros([2, 3]), tf.constant(1.0)
        given = _tried(
            "optimizer.name",
            settings.name,
            lambda: rule_of(settings.name).change(zeros, zeros + 1, zeros, zeros, one, True, settings),
        )
        fits = isinstance(given, tuple) and len(given) == 3 and all(_is(part, tf.float32, (2, 3)) for part in given)
        _check(
            "optimizer.name",
            settings.name,
            "the change of the variable and its two moments, each float32 of its shape",
            fits,
            given,
        )
    if is_own(settings.schedule):
        given = _tried("optimizer.schedule", settings.schedule, lambda: learning_rate(tf.constant(0.5), 0.1, settings))
        fits = _is(given, tf.float32, ()) and bool(tf.math.is_finite(given))
        _check(
            "optimizer.schedule",
            settings.schedule,
            "a finite learning rate, a float32 scalar for a scalar",
            fits,
            given,
        )


def masking_function(name: str) -> Callable[[RowsToMask], tf.Tensor]:
    """The user's own `masking.strategy`, called once on two rows."""
    select = load_own("masking.strategy", name, ["rows"])
    ids = tf.reshape(tf.range(16), [2, 8])
    true = tf.ones([2, 8], tf.bool)
    rows = RowsToMask(ids, true, true, tf.zeros([2, 8], tf.int32), ids, tf.constant([2, 2]))
    _tried("masking.strategy", name, lambda: own_selection(select, rows))
    return select


def objective_of(name: str, standing: Objective) -> Objective:
    """The user's own `objective`: a function (task, batch, training) -> Sums. standing: the one that it stands for."""
    function = load_own("objective", name, ["task", "batch", "training"])

    def sums(task: Any, batch: Mapping[str, tf.Tensor], training: bool) -> Sums:
        given = function(task, batch, training)
        # Sums, or a plain tuple.
        fits = isinstance(given, tuple) and len(given) in (3, len(Sums._fields))
        parts = [tf.cast(part, tf.float32) for part in given[:3]] if fits else []
        _check(
            "objective",
            name,
            "Sums(loss, count, correct), three scalars",
            fits and all(part.shape.rank == 0 for part in parts),
            given,
        )
        return Sums(*parts)

    return Objective(sums, lambda given, _: given, standing.is_right_or_wrong)


def _tried(key: str, name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InputError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(
            f"{key}={name} is called once before the run begins, it failed ({type(error).__name__}: {first}); mend it;"
            " --debug shows where"
        ) from error


def _is(value: Any, dtype: tf.DType, shape: tuple[int, ...]) -> bool:
    return isinstance(value, tf.Tensor) and value.dtype == dtype and tuple(value.shape) == shape


def _check(key: str, name: str, what: str, holds: bool, given: Any) -> None:
    if not holds:
        shown = " ".join(f"{given}".split())[:200]
        raise InputError(f"{key}={name} must return {what}, it returned {shown}; change it")
