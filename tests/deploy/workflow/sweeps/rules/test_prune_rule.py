"""The rules of the median and of halving: who is stopped, when, and who never is."""

import random

import pytest

from clozekit.deploy.workflow.sweeps.rules.prune_rule import Course, Verdict, best_until, rungs, verdict
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import PruneSettings

RULE = PruneSettings(after_steps=20, min_others=3)
OTHERS: list[Course] = [[(10, 5.0), (20, 4.0), (30, 3.0)], [(10, 6.0), (20, 5.0), (30, 5.5)], [(10, 7.0), (20, 6.0)]]


@pytest.mark.parametrize(
    ("case", "mine", "others", "found"),
    [
        ("it has measured nothing", [], OTHERS, None),
        ("it is too early", [(10, 99.0)], OTHERS, None),
        ("it is worse than the middle one", [(10, 9.0), (20, 5.1)], OTHERS, Verdict(20, 5.1, 5.0)),
        ("it is as good as the middle one", [(20, 5.0)], OTHERS, None),
        ("its best so far counts, not its last", [(10, 4.9), (20, 9.0)], OTHERS, None),
        ("of the others too", [(30, 4.5)], [*OTHERS[:2], [(30, 2.0), (40, 1.0)]], Verdict(30, 4.5, 3.0)),
        ("too few others have come so far", [(30, 99.0)], OTHERS, None),
        ("of two in the middle the mean", [(20, 5.4)], [*OTHERS, [(20, 5.5)]], Verdict(20, 5.4, 5.25)),
        ("what others measured later is not known yet", [(20, 5.4)], [[(20, 6.0), (30, 1.0)]] * 3, None),
    ],
)
def test_who_is_losing(case: str, mine: Course, others: list[Course], found: Verdict | None) -> None:
    assert verdict(mine, others, RULE, True) == found, case


def test_where_high_is_best_low_ones_lose() -> None:
    others: list[Course] = [[(20, 0.3)], [(20, 0.5)], [(20, 0.7)]]
    assert verdict([(20, 0.4)], others, RULE, False) == Verdict(20, 0.4, 0.5)
    assert verdict([(20, 0.6)], others, RULE, False) is None


def test_of_runs_that_are_alike_none_is_stopped() -> None:
    assert verdict([(20, 1.0)], [[(20, 1.0)]] * 5, RULE, True) is None


def test_the_best_so_far_at_a_step() -> None:
    course = [(10, 5.0), (20, 4.0), (30, 6.0)]
    assert [best_until(course, step, True) for step in (5, 10, 25, 40)] == [None, 5.0, 4.0, 4.0]
    assert best_until(course, 40, False) == 6.0


@pytest.mark.parametrize(
    ("after_steps", "factor", "until", "found"),
    [
        (1, 4, 100, [1, 4, 16, 64]),
        (50, 3, 449, [50, 150]),
        (50, 3, 450, [50, 150, 450]),
        (20, 2, 19, []),
        (20, 2, 20, [20]),
        (20, None, 400, [20, 80, 320]),
    ],
)
def test_the_rungs_of_halving(after_steps: int, factor: int | None, until: int, found: list[int]) -> None:
    settings = PruneSettings(after_steps, rule="halving", reduction_factor=factor)
    assert list(rungs(settings, until)) == found


# Rungs at 10, 20, 40, ... of which the better half goes on.
HALVING = PruneSettings(after_steps=10, rule="halving", reduction_factor=2, min_others=3)
THREE: list[Course] = [[(10, 5.0)], [(10, 6.0)], [(10, 7.0)]]


@pytest.mark.parametrize(
    ("case", "mine", "others", "found"),
    [
        ("it has measured nothing", [], THREE, None),
        ("it is not at the first rung", [(9, 99.0)], THREE, None),
        ("it is the best of four", [(10, 4.0)], THREE, None),
        ("it is the second of four", [(10, 5.5)], THREE, None),
        ("it is the third of four", [(10, 6.5)], THREE, Verdict(10, 6.5, 6.0)),
        ("it is the last of four", [(10, 8.0)], THREE, Verdict(10, 8.0, 6.0)),
        ("it is as good as the last that goes on", [(10, 6.0)], THREE, None),
        ("of five two go on", [(10, 5.5)], [*THREE, [(10, 5.2)]], Verdict(10, 5.5, 5.2)),
        ("too few others have come so far", [(10, 99.0)], THREE[:2], None),
        ("between rungs it is judged at the one behind it", [(10, 8.0), (15, 0.1)], THREE, Verdict(10, 8.0, 6.0)),
        ("once at the next rung, the first one is past", [(10, 8.0), (20, 7.0)], THREE, None),
        ("at a rung the best so far counts", [(5, 1.0), (10, 8.0)], THREE, None),
        ("no validation at the rung, the next one counts", [(12, 8.0)], [[(12, 1.0)]] * 3, Verdict(12, 8.0, 1.0)),
        ("what the others measured later does not count", [(10, 4.0)], [[(10, 5.0), (20, 1.0)]] * 3, None),
        ("others that have come as far, the last rung", [(10, 1.0), (40, 9.0)], [[(10, 9.0), (40, 0.5)]] * 3,
         Verdict(40, 1.0, 0.5)),
    ],
)  # fmt: skip
def test_who_is_not_among_the_best_of_a_rung(
    case: str, mine: Course, others: list[Course], found: Verdict | None
) -> None:
    assert verdict(mine, others, HALVING, True) == found, case
    # By a measure that is best when high, the other way round.
    turned = [[(step, -value) for step, value in course] for course in (mine, *others)]
    wanted = None if found is None else Verdict(found.step, -found.value, -found.needed)
    assert verdict(turned[0], turned[1:], HALVING, False) == wanted, case


def test_of_fewer_than_the_factor_the_best_goes_on() -> None:
    settings = PruneSettings(after_steps=10, rule="halving", reduction_factor=4, min_others=1)
    assert verdict([(10, 5.0)], [[(10, 6.0)]], settings, True) is None
    assert verdict([(10, 6.0)], [[(10, 5.0)]], settings, True) == Verdict(10, 6.0, 5.0)


def test_halving_is_that_of_a_slow_loop_and_always_leaves_one() -> None:
    """At one rung, run after run as they come: stopped is who has as many better ones before it as may go on of those there."""
    values = [random.Random(number).random() for number in range(60)]
    settings = PruneSettings(after_steps=1, rule="halving", reduction_factor=3, min_others=2)
    for number in range(2, 60):
        others: list[Course] = [[(1, value)] for value in values[:number]]
        better = sum(value < values[number] for value in values[:number])
        stopped = verdict([(1, values[number])], others, settings, True) is not None
        assert stopped == (better >= max(1, (number + 1) // 3))
    assert verdict([(1, min(values))], [[(1, value)] for value in values], settings, True) is None
