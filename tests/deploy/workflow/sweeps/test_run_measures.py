"""What is read of runs: whole lines of logs alone, again when they have grown."""

import json
from pathlib import Path

import pytest

from clozekit.deploy.workflow.sweeps.run_measures import RunLogs, answered, course_of, entries_of

LINES = [
    {"kind": "train", "step": 5, "loss": 9.0},
    {"kind": "validation", "step": 10, "loss": 5.0, "accuracy": 0.5},
    {"kind": "validation", "step": 20, "loss": None},
    {"kind": "event", "step": 20, "event": "skipped"},
    {"kind": "validation", "step": 30, "loss": 4.0},
]
TEXT = "".join(json.dumps(line) + "\n" for line in LINES)


def test_the_course_of_a_run_is_that_of_its_validations() -> None:
    assert course_of(LINES, "loss") == [(10, 5.0), (30, 4.0)]
    assert course_of(LINES, "accuracy") == [(10, 0.5)]
    assert course_of(LINES, "f1") == []


def test_the_line_that_a_run_is_in_the_middle_of_does_not_count() -> None:
    assert entries_of(TEXT + '{"kind": "validation", "step": 40, "lo') == LINES
    assert entries_of('[1]\n{"kind": "validation", "loss": 1.0}\nnull\n') == []


def test_a_log_is_read_again_when_it_has_grown(tmp_path: Path) -> None:
    logs = RunLogs()
    assert (logs.course(str(tmp_path), "loss"), logs.last_step(str(tmp_path))) == ([], 0)
    (tmp_path / "metrics.jsonl").write_text(TEXT)
    assert (logs.course(str(tmp_path), "loss"), logs.last_step(str(tmp_path))) == ([(10, 5.0), (30, 4.0)], 30)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "validation", "step": 40, "loss": 3.0}\n')
    assert logs.course(str(tmp_path), "loss")[-1] == (40, 3.0)


@pytest.mark.parametrize(
    ("answer", "metric", "value"),
    [
        ({"loss": 3}, "loss", 3.0),
        ({"metrics": {"f1": 0.5}}, "metrics.f1", 0.5),
        ({"metrics.f1": 0.25}, "metrics.f1", 0.25),
        ({"loss": "low"}, "loss", None),
        ({"loss": True}, "loss", None),
        ({"loss": 3}, "loss.more", None),
        ({}, "loss", None),
    ],
)
def test_what_evaluate_answered(tmp_path: Path, answer: object, metric: str, value: float | None) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(answer))
    assert answered(str(tmp_path / "evaluation.json"), metric) == value
    assert answered(str(tmp_path / "gone.json"), metric) is None
