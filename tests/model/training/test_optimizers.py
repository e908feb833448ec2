"""Each optimizer against a slow loop of its paper in NumPy; which variables a rule takes; groups of variables."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_families import NAMES, backbone

from clozekit.model.training.architecture import from_scratch
from clozekit.model.training.build_task import build_task
from clozekit.model.training.optimizers.muon import orthogonal
from clozekit.model.training.optimizers.optimizer import Optimizer, rule_of
from clozekit.model.training.settings.loop_settings import OPTIMIZERS, GroupSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings
from clozekit.tokenizers.common.errors import InputError

Step = Callable[[np.ndarray, np.ndarray, dict[str, Any], int, OptimizerSettings], np.ndarray]
KERNEL, HEADS, BIAS = (
    "transformer_layer_0/dense/kernel",
    "transformer_layer_0/self_attention_layer/query/kernel",
    "norm/bias",
)


def size(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def adamw(value: np.ndarray, gradient: np.ndarray, kept: dict[str, Any], t: int, c: OptimizerSettings) -> np.ndarray:
    kept["m"] = c.beta_1 * kept.get("m", 0) + (1 - c.beta_1) * gradient
    kept["v"] = c.beta_2 * kept.get("v", 0) + (1 - c.beta_2) * gradient**2
    return (kept["m"] / (1 - c.beta_1**t)) / (np.sqrt(kept["v"] / (1 - c.beta_2**t)) + c.epsilon)


def stable_adamw(
    value: np.ndarray, gradient: np.ndarray, kept: dict[str, Any], t: int, c: OptimizerSettings
) -> np.ndarray:
    """Wortsman et al. 2023, algorithm 2, which corrects the betas in place of the moments."""
    beta_1, beta_2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (c.beta_1, c.beta_2))
    kept["v"] = beta_1 * kept.get("v", 0) + (1 - beta_1) * gradient
    kept["u"] = beta_2 * kept.get("u", 0) + (1 - beta_2) * gradient**2
    excess = np.sqrt(np.mean(gradient**2 / np.maximum(kept["u"], c.epsilon**2)))
    decay = c.weight_decay if kept["decays"] else 0.0
    # The whole step gets smaller there, the decay too.
    whole = kept["v"] / (np.sqrt(kept["u"]) + c.epsilon) + decay * value
    return whole / max(1.0, excess) - decay * value


def lion(value: np.ndarray, gradient: np.ndarray, kept: dict[str, Any], t: int, c: OptimizerSettings) -> np.ndarray:
    """Chen et al. 2023, algorithm 2."""
    moment = kept.get("m", np.zeros_like(value))
    kept["m"] = c.beta_2 * moment + (1 - c.beta_2) * gradient
    return np.sign(c.beta_1 * moment + (1 - c.beta_1) * gradient)


def muon(value: np.ndarray, gradient: np.ndarray, kept: dict[str, Any], t: int, c: OptimizerSettings) -> np.ndarray:
    """Jordan et al. 2024; each singular value goes through five rounds of the same polynomial."""
    kept["m"] = c.momentum * kept.get("m", 0) + gradient
    matrix = (gradient + c.momentum * kept["m"]).reshape(len(value), -1)
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    singular = singular / np.linalg.norm(singular)
    for _ in range(5):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    return ((left * singular) @ right * 0.2 * np.sqrt(max(matrix.shape))).reshape(value.shape)


def adafactor(
    value: np.ndarray, gradient: np.ndarray, kept: dict[str, Any], t: int, c: OptimizerSettings
) -> np.ndarray:
    """Shazeer and Stern 2018, algorithms 4 (a matrix) and 5 (a vector)."""
    beta = 1 - t**-0.8
    squares = gradient**2 + 1e-30
    if value.ndim == 1:
        kept["v"] = beta * kept.get("v", 0) + (1 - beta) * squares
        estimate = kept["v"]
    else:
        matrix = squares.reshape(len(value), -1)
        kept["r"] = beta * kept.get("r", 0) + (1 - beta) * matrix.sum(axis=1)
        kept["c"] = beta * kept.get("c", 0) + (1 - beta) * matrix.sum(axis=0)
        estimate = (np.outer(kept["r"], kept["c"]) / kept["r"].sum()).reshape(value.shape)
    u = gradient / np.sqrt(estimate)
    return u / max(1.0, size(u)) * max(1e-3, size(value))


RULES: dict[str, Step] = {
    "adamw": adamw,
    "stable_adamw": stable_adamw,
    "lion": lion,
    "muon": muon,
    "adafactor": adafactor,
}


def variables_of(start: dict[str, np.ndarray]) -> list[keras.Variable]:
    """Keras variables whose paths are the keys."""
    variables = []
    for path, value in start.items():
        *scopes, name = path.split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            variables.append(keras.Variable(value, name=name, dtype="float32"))
    assert [variable.path for variable in variables] == list(start)
    return variables


def test_every_optimizer_has_its_slow_loop() -> None:
    # LAMB's stands in test_step.py.
    assert set(OPTIMIZERS) == {*RULES, "lamb"}


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("name", sorted(RULES))
def test_an_optimizer_is_the_papers(name: str, xla: bool) -> None:
    config = OptimizerSettings(name, weight_decay=0.1, clip_norm=None, beta_2=0.9)
    dice = np.random.default_rng(0)
    start = {KERNEL: dice.normal(size=(6, 4)), HEADS: dice.normal(size=(6, 2, 3)), BIAS: dice.normal(size=4)}
    gradients = [[dice.normal(size=value.shape) * 3.0**number for value in start.values()] for number in range(4)]
    variables = variables_of(start)
    optimizer = Optimizer(variables, config, xla=xla)
    for step in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32) for gradient in step], tf.constant(0.01))
    for index, (path, value) in enumerate(start.items()):
        decays = path != BIAS
        # What Muon does not take has AdamW.
        rule = adamw if name == "muon" and path == BIAS else RULES[name]
        kept: dict[str, Any] = {"decays": decays}
        for t, step in enumerate(gradients, start=1):
            change = rule(value, step[index], kept, t, config)
            value = value - 0.01 * (change + (0.1 if decays else 0.0) * value)
        np.testing.assert_allclose(np.asarray(variables[index]), value, rtol=1e-4, atol=1e-6)


def test_muon_makes_every_direction_alike() -> None:
    matrix = np.random.default_rng(0).normal(size=(12, 7)).astype("float32")
    for given in (matrix, matrix.T, 1e-12 * matrix):
        singular = np.linalg.svd(orthogonal(tf.constant(given)).numpy(), compute_uv=False)
        assert singular.min() > 0.6 and singular.max() < 1.25
    assert not orthogonal(tf.zeros([3, 2])).numpy().any()


@pytest.mark.parametrize("family", NAMES)
def test_muon_takes_the_kernels_of_layers_and_nothing_else(family: str) -> None:
    paths = {v.path: tuple(v.shape) for v in backbone(family).trainable_variables}
    taken = {path for path, shape in paths.items() if rule_of("muon").takes(path, shape)}
    of_layers = {
        path
        for path in paths
        if path.startswith(("transformer_layer_", "group_", "disentangled_attention_encoder_layer_"))
    }
    assert taken == {path for path in of_layers if path.endswith("/kernel")}
    # At least query, key, value, output and the two of the feed-forward part.
    assert len(taken) >= 6


def test_moments_are_as_small_as_the_papers_say() -> None:
    start = {KERNEL: np.zeros((6, 4)), BIAS: np.zeros(4)}
    sizes = {}
    for name in OPTIMIZERS:
        optimizer = Optimizer(variables_of(start), OptimizerSettings(name), xla=False)
        sizes[name] = [(tuple(a.shape), tuple(b.shape)) for a, b in zip(optimizer.first, optimizer.second, strict=True)]
    both = [((6, 4), (6, 4)), ((4,), (4,))]
    assert sizes == {
        **dict.fromkeys(("adamw", "lamb", "stable_adamw"), both),
        "lion": [((6, 4), ()), ((4,), ())],
        "muon": [((6, 4), ()), ((4,), (4,))],
        "adafactor": [((6,), (4,)), ((), (4,))],
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_that_is_no_number_changes_nothing_of_any_optimizer(name: str) -> None:
    optimizer = Optimizer(variables_of({KERNEL: np.ones((2, 3)), BIAS: np.ones(3)}), OptimizerSettings(name), xla=False)
    optimizer.apply([tf.ones([2, 3]), tf.ones([3])], tf.constant(0.1))
    before = [variable.numpy() for variable in optimizer.variables]
    optimizer.apply([tf.ones([2, 3]), tf.fill([3], float("nan"))], tf.constant(0.1))
    after = [variable.numpy() for variable in optimizer.variables]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_table_that_differs_from_another_moves_with_it_and_by_what_is_trained_in_its_place(
    name: str, xla: bool
) -> None:
    config = OptimizerSettings(name, weight_decay=0.1, clip_norm=0.5, ema_decay=0.5)
    dice = np.random.default_rng(0)
    start = {"generator/embeddings": dice.normal(size=(6, 4)), "embeddings": dice.normal(size=(6, 4)) * 0.1}
    steps = [[tf.constant(dice.normal(size=(6, 4)), tf.float32) for _ in start] for _ in range(4)]
    steps.insert(2, [tf.fill([6, 4], float("nan")), steps[0][1]])
    shared, difference = variables_of(start)
    apart = Optimizer([shared, difference], config, xla=xla)
    part, whole = variables_of(start)
    whole.assign_add(part)
    together = Optimizer([part, whole], config, xla=xla, differing=[(whole, part)])
    for optimizer in (apart, together):
        optimizer.begin_averages()
    for gradients in steps:
        before = np.asarray(whole)
        norms = [float(optimizer.apply(gradients, tf.constant(0.05))) for optimizer in (apart, together)]
        np.testing.assert_allclose(*norms, rtol=1e-6)
        np.testing.assert_array_equal(part, shared)
        np.testing.assert_allclose(whole, np.asarray(shared) + np.asarray(difference), rtol=1e-4, atol=1e-5)
        assert np.array_equal(whole, before) == (not np.isfinite(norms[0]))
    for moments in ("first", "second"):
        for one, other in zip(getattr(apart, moments), getattr(together, moments), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    of_sum = apart.averages[0] + apart.averages[1]
    np.testing.assert_allclose(together.averages[1], of_sum, rtol=1e-4, atol=1e-5)
    # It is not what the sum would be by itself.
    alone = variables_of({"embeddings": start["embeddings"] + start["generator/embeddings"]})
    plain = Optimizer(alone, config, xla=xla)
    for gradients in steps:
        plain.apply(gradients[1:], tf.constant(0.05))
    assert not np.allclose(alone[0], whole, rtol=1e-3)


def test_groups_have_rates_decays_and_rules_of_their_own() -> None:
    start = {"embeddings": np.ones((3, 2)), KERNEL: np.ones((2, 2)), BIAS: np.ones(2)}
    groups = (
        GroupSettings("embeddings$", rate_factor=0.5, weight_decay=0.0),
        GroupSettings("norm/", weight_decay=0.4),
        # The first that matches counts.
        GroupSettings("kernel|embeddings", name="lion"),
    )
    variables = variables_of(start)
    config = OptimizerSettings(weight_decay=0.1, clip_norm=1e9, groups=groups)
    optimizer = Optimizer(variables, config, xla=False)
    optimizer.apply([tf.fill(value.shape, -4.0) for value in start.values()], tf.constant(0.01))
    # The first change of AdamW and Lion is of size 1.
    expected = [1 + 0.005, 1 + 0.01 * (1 - 0.1), 1 + 0.01 * (1 - 0.4)]
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(variable), value, rtol=1e-6)
    assert [tuple(moment.shape) for moment in optimizer.second] == [(3, 2), (), (2,)]


def test_a_group_that_matches_nothing_is_refused_by_its_name() -> None:
    config = RunSettings(
        "data",
        "run",
        model=ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32),
        optimizer=OptimizerSettings(groups=(GroupSettings("embedings"), GroupSettings("kernel"))),
    )
    task = build_task(config, from_scratch(config.model, 40, 12))
    with pytest.raises(InputError, match="match must be found in the path of a variable .* got embedings; paths are"):
        Optimizer(task.trainable_variables, config.optimizer, xla=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"match": "("}, "match must be a regular expression"),
        ({"match": "a", "rate_factor": -1.0}, "rate_factor must be at least 0, got -1"),
        ({"match": "a", "weight_decay": -0.1}, "weight_decay must be at least 0, got -0.1"),
        ({"match": "a", "name": "adam"}, "name must be adafactor, adamw, lamb, lion, muon, stable_adamw or module:f"),
    ],
)
def test_wrong_groups_are_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        GroupSettings(**fields)
    assert "\n" not in str(caught.value)
