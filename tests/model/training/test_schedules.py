"""Learning rates: each schedule at the steps that tell it from the others."""

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.training.schedules import learning_rate, step_progress, warmup_share
from clozekit.model.training.settings.loop_settings import OptimizerSettings


def rates(num_steps: int, **fields: object) -> list[float]:
    config = OptimizerSettings(learning_rate=1.0, **fields)  # type: ignore[arg-type]
    warmup = warmup_share(config, num_steps)
    return [float(learning_rate(step_progress(tf.constant(i), num_steps), warmup, config)) for i in range(num_steps)]


def test_the_linear_one_rises_and_falls_in_straight_lines() -> None:
    expected = [0.25, 0.5, 0.75, 1.0, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]
    np.testing.assert_allclose(rates(10, warmup_rate=0.4), expected, rtol=1e-5)
    assert rates(10, warmup_rate=0.0)[0] == 1.0


def test_the_others_share_its_warm_up() -> None:
    # 10 steps of which 1 warms up: behind it 1/10, 2/10, ... of the decay is done.
    done = np.arange(10) / 10
    for schedule, expected in (
        ("polynomial", (1 - done) ** 3),
        ("cosine", (1 + np.cos(np.pi * done)) / 2),
    ):
        found = rates(10, schedule=schedule, warmup_rate=0.1, decay_power=3.0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_stable_one_decays_at_the_end_alone() -> None:
    found = rates(99, schedule="warmup_stable_decay", warmup_rate=0.1, decay_rate=0.2)
    assert found[4] == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(found[9:79], 1.0, rtol=1e-5)
    # 1 - sqrt of the share of the last fifth that is done.
    np.testing.assert_allclose(found[79:], 1 - np.sqrt(np.arange(20) / 20), atol=1e-3)


def test_one_cycle_goes_up_and_down_and_then_out() -> None:
    found = rates(99, schedule="one_cycle")
    assert int(np.argmax(found)) == 44
    assert found[44] == pytest.approx(1.0, rel=1e-3)
    assert found[89] == pytest.approx(0.04, rel=1e-2)
    assert found[98] == pytest.approx(0.004, rel=1e-2)
    assert all(a < b for a, b in zip(found[:44], found[1:45], strict=True))
    assert all(a > b for a, b in zip(found[44:], found[45:], strict=False))


def test_what_is_left_at_the_end_is_a_share_of_the_peak() -> None:
    for schedule in ("linear", "cosine", "polynomial", "warmup_stable_decay"):
        config = OptimizerSettings(learning_rate=2.0, schedule=schedule, final_rate=0.1)
        assert float(learning_rate(tf.constant(1.0), 0.06, config)) == pytest.approx(0.2)
        # A run over its time stays there.
        assert float(learning_rate(tf.constant(1.7), 0.06, config)) == pytest.approx(0.2)
