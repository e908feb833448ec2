"""Points of sweeps: functions of the recipe, each once, inside their ranges."""

import itertools
from typing import Any

import pytest

from clozekit.deploy.workflow.sweeps.rules.sweep_points import draw, drawn, points_of, spread
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Span, Sweep, SweepSettings

RATE = Span(1e-4, 1e-2, "log")


def sweep_of(keys: dict[str, Any], **settings: Any) -> Sweep:
    return Sweep(keys, {}, SweepSettings(**settings), "train", None)


def test_a_grid_has_all_combinations_the_last_key_changing_first() -> None:
    points = list(points_of(sweep_of({"t.a": (1, 2), "t.b": ("x", None, [1, 2])})))
    assert points == [{"t.a": a, "t.b": b} for a in (1, 2) for b in ("x", None, [1, 2])]
    assert list(points_of(sweep_of({"t.a": (1, 2), "t.b": ("x", "y")}, runs=3))) == [
        {"t.a": a, "t.b": b} for a, b in ((1, "x"), (1, "y"), (2, "x"))
    ]
    # Of seeds alone there is one point.
    assert list(points_of(sweep_of({}))) == [{}]


@pytest.mark.parametrize(
    ("span", "values"),
    [
        (Span(0, 1, points=3), [0.0, 0.5, 1.0]),
        (Span(1e-4, 1e-2, "log", points=3), [1e-4, 1e-3, 1e-2]),
        (Span(8, 64, "log", whole=True, points=4), [8, 16, 32, 64]),
        (Span(1, 3, whole=True, points=9), [1, 2, 3]),
        (Span(1, 2, points=4), [1.0, 1.333, 1.667, 2.0]),
    ],
)
def test_a_range_is_spread_evenly_over_its_scale(span: Span, values: list[float]) -> None:
    assert spread(span) == values
    assert [type(one) for one in spread(span)] == [int if span.whole else float] * len(values)


def test_what_is_drawn_follows_from_the_seed_alone() -> None:
    keys = {"t.rate": RATE, "t.batch": Span(8, 64, "log", whole=True), "t.kind": ("a", "b")}
    sweep = sweep_of(keys, method="random", runs=4)
    # Pinned: another draw would make other trials of a sweep that was begun.
    assert list(points_of(sweep)) == PINNED
    assert [draw(sweep, number) for number in range(4)] == PINNED
    # A key more changes nothing of what the others draw.
    fewer = sweep_of({"t.rate": RATE}, method="random", runs=4)
    assert [one["t.rate"] for one in points_of(fewer)] == [one["t.rate"] for one in PINNED]
    assert list(points_of(sweep_of(keys, method="random", runs=4, seed=1))) != PINNED


PINNED: list[dict[str, Any]] = [
    {"t.rate": 0.001412, "t.batch": 62, "t.kind": "a"},
    {"t.rate": 0.00124, "t.batch": 16, "t.kind": "b"},
    {"t.rate": 0.0008465, "t.batch": 22, "t.kind": "b"},
    {"t.rate": 0.0007464, "t.batch": 36, "t.kind": "a"},
]


def test_draws_are_in_their_range_and_reach_its_ends() -> None:
    whole = [draw(sweep_of({"t.x": Span(1, 4, whole=True)}, method="random", runs=1), n)["t.x"] for n in range(400)]
    assert {value: 80 < whole.count(value) < 120 for value in set(whole)} == {value: True for value in (1, 2, 3, 4)}
    rates = [draw(sweep_of({"t.x": RATE}, method="random", runs=1), number)["t.x"] for number in range(400)]
    assert all(1e-4 <= rate <= 1e-2 and rate == float(f"{rate:.4g}") for rate in rates)
    assert 150 < sum(rate < 1e-3 for rate in rates) < 250


def test_no_point_is_drawn_twice_and_the_draws_end_with_the_space() -> None:
    sweep = sweep_of({"t.a": (1, 2, 3), "t.b": (True, False)}, method="random", hours=1.0)
    points = list(drawn(sweep))
    assert sorted(points, key=str) == sorted(points_of(sweep_of(dict(sweep.keys))), key=str)
    # Where only hours end it, there is always one more.
    endless = points_of(sweep_of({"t.rate": RATE}, method="random", hours=1.0))
    assert len({one["t.rate"] for one in itertools.islice(endless, 50)}) == 50
