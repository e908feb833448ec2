"""Points by Optuna: a function of the recipe and of what the trials before have measured, so that any leader goes on alike."""

import sys
from typing import Any

import pytest

from clozekit.deploy.workflow.sweeps.rules.optuna_points import (
    COMPLETE,
    FAILED,
    PRUNED,
    RUNNING,
    Told,
    ask,
    require_optuna,
)
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import MeasureSettings, Span, Sweep, SweepSettings
from clozekit.tokenizers.common.extras import MissingExtraError

KEYS = {"t.rate": Span(1e-4, 1e-1, "log"), "t.batch": Span(8, 64, whole=True), "t.kind": ("a", [1, 2], True, 1)}


def sweep_of(keys: dict[str, Any] | None = None, **settings: Any) -> Sweep:
    settings = {"method": "optuna", "runs": 20, **settings}
    return Sweep(keys or KEYS, {}, SweepSettings(**settings), "train", None)


def told_of(sweep: Sweep, number: int) -> list[Told]:
    """So many trials, one after the other, the better the nearer their rate is to 0.001."""
    told: list[Told] = []
    for _ in range(number):
        point = ask(sweep, told)
        assert point is not None
        told.append(Told(point, COMPLETE, abs(point["t.rate"] - 1e-3)))
    return told


def test_what_is_asked_follows_from_what_was_told() -> None:
    sweep = sweep_of()
    told = told_of(sweep, 8)
    # Another leader, which has nothing but the results.
    assert told_of(sweep_of(), 8) == told
    again = [Told(dict(one.point), one.state, one.value) for one in told]
    assert ask(sweep_of(), again) == ask(sweep, told)
    worse = [Told(one.point, COMPLETE, -(one.value or 0.0)) for one in told]
    assert ask(sweep, worse) != ask(sweep, told)
    assert ask(sweep_of(seed=1), []) != ask(sweep, [])
    for one in told:
        assert 1e-4 <= one.point["t.rate"] <= 1e-1
        assert 8 <= one.point["t.batch"] <= 64
        assert type(one.point["t.batch"]) is int


def test_it_learns_where_good_ones_are() -> None:
    keys = {"t.rate": KEYS["t.rate"]}
    rates = [one.point["t.rate"] for one in told_of(sweep_of(keys), 20)]
    near = [abs(rate - 1e-3) < 2e-3 for rate in rates]
    assert sum(near[10:]) >= 8 > sum(near[:10])
    highest = sweep_of(keys, measure=MeasureSettings(metric="accuracy"))
    assert ask(highest, told_of(sweep_of(keys), 12)) != ask(sweep_of(keys), told_of(sweep_of(keys), 12))


def test_trials_that_run_failed_or_were_stopped_are_told_too() -> None:
    sweep = sweep_of()
    told = told_of(sweep, 7)
    others = [Told(told[0].point, RUNNING), Told(told[1].point, FAILED), Told(told[2].point, PRUNED, course={20: 5.0})]
    assert ask(sweep, [*told[3:], *others]) is not None


def test_nothing_is_asked_twice_and_a_space_that_is_tried_has_no_more() -> None:
    sweep = sweep_of({"t.a": (1, 2, 3), "t.b": (True, False)}, hours=1.0)
    told: list[Told] = []
    while (point := ask(sweep, told)) is not None:
        assert point not in [one.point for one in told]
        told.append(Told(point, COMPLETE, 1.0))
    assert len(told) == 6


def test_without_optuna_there_is_a_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_optuna()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError) as error:
        require_optuna()
    assert str(error.value) == (
        "a sweep with method: optuna needs packages that are not installed (optuna); run: pip install"
        " 'clozekit[sweep]', or choose method: random"
    )
