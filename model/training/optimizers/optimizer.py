"""Applying an optimizer to the variables of a run: clipping, the finite check, the moments, the update.

The arithmetic of each optimizer stands in its own file: a pure function that XLA fuses. The assignments stay outside of it,
because XLA can't assign to the variables of several replicas.
"""

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import keras
import tensorflow as tf

from clozekit.model.common.own_code import is_own, load_own
from clozekit.model.training.cluster.workers import assign_everywhere
from clozekit.model.training.settings.loop_settings import OptimizerSettings
from clozekit.tokenizers.common.errors import InputError

# How a rule is called.
ARGUMENTS = ("value", "gradient", "first", "second", "step", "decays", "config")
# The rule of the variables that another one is not made for.
USUAL_RULE = "adamw"

Shape = tuple[int, ...]


def _moments_like(shape: Shape) -> tuple[Shape, Shape]:
    return shape, shape


class Rule(NamedTuple):
    """How variables are updated: what the file of an optimizer says.

    change: of a variable, its gradient and its moments, as in `adamw.py`. moment_shapes: shape of a variable -> those of its two
    moments, () for one that is not used. takes: (path, shape) of a variable -> whether the rule is made for it; AdamW has the rest.
    is_elementwise: whether `change` treats each value alike, whatever the shape: it is traced once then, not for each shape.
    """

    change: Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
    moment_shapes: Callable[[Shape], tuple[Shape, Shape]] = _moments_like
    takes: Callable[[str, Shape], bool] = lambda path, shape: True
    is_elementwise: bool = False


def rule_of(name: str) -> Rule:
    """What `optimizer.name` stands for: a file beside this one, or a function of the user's own."""
    if is_own(name):
        return Rule(cast(Callable[..., Any], load_own("optimizer.name", name, ARGUMENTS)))
    module = importlib.import_module(f"clozekit.model.training.optimizers.{name}")
    return Rule(**{field: getattr(module, field) for field in Rule._fields if hasattr(module, field)})


class _Update(NamedTuple):
    """How a variable is updated. rate_factor: what its learning rate is multiplied by."""

    rule: Rule
    config: OptimizerSettings
    decays: bool
    rate_factor: float


def updates_of(variables: Sequence[keras.Variable], config: OptimizerSettings) -> list[_Update]:
    """The update of each variable: that of the first of `config.groups` that its path matches, else the usual one.

    Raises InputError for a group that matches no variable: a misspelt one would change nothing, silently.
    """
    unused = {group.match for group in config.groups}
    rules = {
        name: rule_of(name)
        for name in {config.name, USUAL_RULE, *(group.name or config.name for group in config.groups)}
    }
    updates = []
    for variable in variables:
        path, shape = variable.path, tuple(variable.shape)
        group = next((group for group in config.groups if re.search(group.match, path)), None)
        settings, decays, factor = config, has_weight_decay(path), 1.0
        if group is not None:
            unused.discard(group.match)
            factor = group.rate_factor
            if group.weight_decay is not None:
                # Whoever names it means it, for norms and biases too.
                settings, decays = dataclasses.replace(config, weight_decay=group.weight_decay), True
        rule = rules[(group and group.name) or config.name]
        updates.append(_Update(rule if rule.takes(path, shape) else rules[USUAL_RULE], settings, decays, factor))
    if unused:
        known = ", ".join(variable.path for variable in variables[:3])
        raise InputError(
            f"optimizer.groups: match must be found in the path of a variable that is trained, got {', '.join(sorted(unused))};"
            f" paths are such as {known}"
        )
    return updates


def has_weight_decay(name: str) -> bool:
    """Whether a variable decays: norms and biases do not (as in BERT's optimization.py)."""
    return name.rsplit("/", 1)[-1] not in ("bias", "gamma", "beta", "output_bias")


class Optimizer(tf.Module):
    """The rule that the configuration names (a file of that name beside this one), with its moments.

    Some variables have another rule, rate or decay where `config.groups` says so. Keeps the moments of each variable, the number of updates they had and, where the configuration asks for it, a running
    average of each. `apply` takes gradients, float32, each of the
    variable's shape, and a float32 scalar learning rate.

    Args:
        variables: of Keras, float32; norms and biases neither decay nor get LAMB's factor.
        config: name, betas, epsilon, weight decay, and the global norm that gradients are clipped to, if they are.
        xla: whether the update is compiled.
        differing: pairs of two of the variables of which the first is a sum: of the second, and of a table that is trained in its
            place, so that it decays by itself and moves with the second (see `TaskWithGenerator.differing_tables`).

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.optimizers.optimizer import Optimizer
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> variable = keras.Variable([1.0, 1.0], name="kernel")
        >>> optimizer = Optimizer([variable], OptimizerSettings(weight_decay=0.0), xla=False)
        >>> float(optimizer.apply([tf.constant([3.0, 4.0])], tf.constant(0.1)))  # the norm before clipping
        5.0
        >>> bool(np.allclose(variable, [0.9, 0.9], atol=1e-4)), int(optimizer.updates)
        (True, 1)
    """

    def __init__(
        self,
        variables: list[keras.Variable],
        config: OptimizerSettings,
        xla: bool,
        differing: Sequence[tuple[keras.Variable, keras.Variable]] = (),
    ) -> None:
        super().__init__()
        places = {id(variable): place for place, variable in enumerate(variables)}
        self._differing = {places[id(whole)]: places[id(part)] for whole, part in differing}
        self._config = config
        each = updates_of(variables, config)
        # Few differ: each is traced once for all variables of a shape, which in deep models are many.
        functions = {update: self._traced(update) for update in each}
        self._functions = [functions[update] for update in each]
        self._variables = [variable.value for variable in variables]
        self._paths = [variable.path for variable in variables]
        shapes = [
            update.rule.moment_shapes(tuple(value.shape)) for update, value in zip(each, self._variables, strict=True)
        ]
        self.first = [tf.Variable(tf.zeros(shape), trainable=False) for shape, _ in shapes]
        self.second = [tf.Variable(tf.zeros(shape), trainable=False) for _, shape in shapes]
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._averaged = [] if config.ema_decay is None else self._variables
        self.averages = [tf.Variable(tf.zeros(value.shape), trainable=False) for value in self._averaged]
        # Without XLA it needs no graph of its own inside the step's.
        self._compute = tf.function(self._new_values, jit_compile=True, autograph=False) if xla else self._new_values

    @staticmethod
    def _traced(update: _Update) -> Callable[..., tuple[tf.Tensor, ...]]:
        """`_new_value` of an update as a function of the graph."""
        one, shaped = tf.TensorSpec([], tf.float32), tf.TensorSpec(None, tf.float32)
        signature = [shaped] * 4 + [one, tf.TensorSpec([], tf.bool), one, one]
        return cast(
            Callable[..., tuple[tf.Tensor, ...]],
            tf.function(
                functools.partial(_new_value, update),
                input_signature=signature if update.rule.is_elementwise else None,
                autograph=False,
            ),
        )

    def _new_values(
        self,
        values: list[tf.Tensor],
        gradients: list[tf.Tensor],
        firsts: list[tf.Tensor],
        seconds: list[tf.Tensor],
        learning_rate: tf.Tensor,
        updates: tf.Tensor,
    ) -> tuple[list[tuple[tf.Tensor, ...]], tf.Tensor]:
        """New (value, first, second) of each variable and the global norm; the old ones when the norm isn't finite."""
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        clip = self._config.clip_norm
        kept = tf.ones_like(norm) if clip is None else tf.minimum(1.0, clip / tf.maximum(norm, 1e-12))
        scale = tf.where(finite, kept, 0.0)
        step = tf.cast(updates, tf.float32) + 1.0
        befores = [
            value - values[self._differing[place]] if place in self._differing else value
            for place, value in enumerate(values)
        ]
        results = []
        for value, gradient, first, second, new_value in zip(
            befores, gradients, firsts, seconds, self._functions, strict=True
        ):
            new = new_value(value, gradient, first, second, scale, finite, step, learning_rate)
            for part, old in zip(new, (value, first, second), strict=True):
                # What was traced for any shape says nothing of this one.
                part.set_shape(old.shape)
            results.append(new)
        for whole, part in self._differing.items():
            difference, *moments = results[whole]
            # Not the old sum taken apart and put together again, which would be another one.
            results[whole] = (tf.where(finite, difference + results[part][0], values[whole]), *moments)
        return results, norm

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        """Clips the gradients to the global norm, updates the variables, returns the norm before clipping.

        Where the norm is not finite nothing changes, the moments included.
        """
        values, firsts, seconds = ([v.value() for v in group] for group in (self._variables, self.first, self.second))
        results, norm = self._compute(values, gradients, firsts, seconds, learning_rate, self.updates.read_value())
        targets = [
            group[index] for index in range(len(results)) for group in (self._variables, self.first, self.second)
        ]
        assign_everywhere(targets, [part for result in results for part in result])
        if self.averages:
            assign_everywhere(self.averages, self._new_averages([new for new, *_ in results], norm))
        updates = self.updates.read_value() + tf.cast(tf.math.is_finite(norm), tf.int64)
        assign_everywhere([self.updates], [updates])
        return norm

    def _new_averages(self, values: list[tf.Tensor], norm: tf.Tensor) -> list[tf.Tensor]:
        """The running averages with the values of this update; as they were when it changed nothing."""
        done = tf.cast(self.updates.read_value(), tf.float32)
        # Else the first weights would be most of it for long: the rule of TensorFlow's ExponentialMovingAverage(num_updates).
        decay = tf.minimum(self._config.ema_decay or 0.0, done / (done + 9.0))
        kept = tf.where(tf.math.is_finite(norm), decay, 1.0)
        averages = [average.read_value() for average in self.averages]
        return [average + (1.0 - kept) * (value - average) for value, average in zip(values, averages, strict=True)]

    def begin_averages(self) -> None:
        """Takes the variables as they are before the first update for their averages."""
        for average, variable in zip(self.averages, self._averaged, strict=True):
            average.assign(variable.numpy())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While entered, the variables have their averages, where these are kept; then bit for bit what they had."""
        before = [variable.numpy() for variable in self._averaged]
        self.use_averages()
        try:
            yield
        finally:
            for variable, value in zip(self._averaged, before, strict=True):
                variable.assign(value)

    def use_averages(self) -> None:
        """Gives the variables their averages, where these are kept: for what is saved at the end."""
        for variable, average in zip(self._averaged, self.averages, strict=True):
            variable.assign(average.numpy())

    def averages_by_path(self) -> dict[str, tf.Variable]:
        """Path of a variable -> its average; empty where none are kept."""
        paths = self._paths if self.averages else []
        return dict(zip(paths, self.averages, strict=True))


def _new_value(
    update: _Update,
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    scale: tf.Tensor,
    finite: tf.Tensor,
    step: tf.Tensor,
    learning_rate: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """New (value, first, second) of one variable; the old ones when the norm is not finite."""
    rule, config, decays, factor = update
    change, *moments = rule.change(value, gradient * scale, first, second, step, decays, config)
    rate = learning_rate if factor == 1.0 else learning_rate * factor
    new = (value - rate * change, *moments)
    return tuple(tf.where(finite, a, b) for a, b in zip(new, (value, first, second), strict=True))
