"""A sweep on the screen: a line a trial that fits the terminal, its table, its plan, its JSON."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from sweeps import RATE, stand_in, write_recipe

from clozekit.deploy.cli.main import main
from clozekit.deploy.cli.step_screen import ScreenRow, StepScreen, fitting

SWEEP = {RATE: [0.001, 0.002, 0.05], "seeds": {"train.seed": [0, 1]}, "prune": {"after_steps": 40}}


def command(folder: Path, *words: str, orders: dict[str, Any] | None = None) -> int:
    with stand_in(folder, orders or {}):
        return main(["run", "recipe.yaml", *words])


def test_the_plan_the_screen_and_the_table_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(tmp_path, SWEEP)
    assert command(tmp_path, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "data  prepare  run     it was not made yet",
        "trial  learning_rate  runs",
        "    1          0.001  2 run",
        "    2          0.002  2 run",
        "    3           0.05  2 run",
        "3 trials, 2 seeds each: 6 of 6 runs to do",
        "then, for the best trial: theirs",
    ]
    assert command(tmp_path, orders={"holds": {"0.05": 40}}) == 0
    captured = capsys.readouterr()
    news = [line for line in captured.err.splitlines() if line.startswith("trial") and "running" not in line]
    assert news[0] == "trial 1 learning_rate=0.001: done, 5.1050 ± 0.0071"
    lines = captured.out.splitlines()
    assert lines[:4] == [
        "trial  learning_rate             loss  steps  state",
        "    1          0.001  5.1050 ± 0.0071    100  done",
        "    2          0.002  5.2050 ± 0.0071    100  done",
        "    3           0.05                -     40  pruned: 13.0000 at step 40, 8.1550 was needed",
    ]
    assert f"best: trial 1, loss 5.1050 ± 0.0071: {RATE}=0.001 train.seed=0 (the best of its seeds)" in lines
    assert "page out/sweep.html" in lines
    assert [line.split()[:2] for line in lines[-3:]] == [["data", "done"], ["theirs", "done"], ["sweep", "done"]]
    # A rerun knows all of it.
    assert command(tmp_path, "--dry-run") == 0
    planned = capsys.readouterr().out.splitlines()
    assert planned[0] == "data  prepare  done"
    assert planned[2:6] == [
        "    1          0.001  2 done",
        "    2          0.002  2 done",
        "    3           0.05  2 pruned",
        "3 trials, 2 seeds each: 0 of 6 runs to do",
    ]


def test_json_has_the_trials_and_the_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(tmp_path, {RATE: [0.001, 0.002]})
    assert command(tmp_path, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert list(plan) == ["output", "sweep", "steps"]
    assert [one["step"] for one in plan["steps"]] == ["data", "theirs"]
    assert [trial["state"] for trial in plan["sweep"]["trials"]] == ["run", "run"]
    assert command(tmp_path, "--json", orders={"fails": [0.002]}) == 2
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert captured.err.splitlines()[-1].startswith("clozekit run: of 2 trials 2 failed: step train (train) failed")
    sweep = answer["sweep"]
    assert (sweep["best"], sweep["changes"]) == (1, [f"{RATE}=0.001"])
    assert [trial["state"] for trial in sweep["trials"]] == ["done", "failed"]
    assert [one["step"] for one in answer["steps"]].count("train") == 2
    # Without a sweep there is none.
    assert command(tmp_path, "sweep=null", "--dry-run", "--json", f"{RATE}=0.001") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["sweep"] is None
    # The run of a trial is that of the same recipe without a sweep.
    assert {one["step"]: one["phase"] for one in plan["steps"]} == {"data": "done", "train": "done", "theirs": "done"}


def test_what_optuna_will_ask_for_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(tmp_path, {RATE: {"low": 0.001, "high": 0.01}, "method": "optuna", "runs": 12})
    assert command(tmp_path, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "0 trials so far: 0 of 0 runs to do",
        "up to 12 trials, chosen by method optuna as it goes on",
        "then, for the best trial: theirs",
    ]


def test_a_mistake_in_a_sweep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(tmp_path, {RATE: 0.001})
    assert command(tmp_path) == 2
    assert capsys.readouterr().err == (
        f"clozekit run: sweep.{RATE} of recipe.yaml must be a list of values or a range, got 0.001;"
        f" write sweep.{RATE}: [VALUE, VALUE]\n"
    )


def row(number: int, phase: str) -> ScreenRow:
    return ScreenRow(f"trial {number}", phase, f"trial {number}: {phase}")


@pytest.mark.parametrize(
    ("height", "shown"),
    [
        (5, ["trial 1: done", "trial 2: done", "trial 3: running", "trial 4: failed", "trial 5: waiting"]),
        (4, ["trial 1: done", "trial 3: running", "trial 4: failed", "and 1 done, 1 waiting"]),
        (3, ["trial 3: running", "trial 4: failed", "and 2 done, 1 waiting"]),
        (2, ["trial 3: running", "and 2 done, 1 failed, 1 waiting"]),
    ],
)
def test_where_a_terminal_has_fewer_lines_what_goes_on_is_shown(height: int, shown: list[str]) -> None:
    phases = ("done", "done", "running", "failed", "waiting")
    assert fitting([row(number, phase) for number, phase in enumerate(phases, start=1)], height) == shown


def test_a_terminal_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "12")
    monkeypatch.setenv("LINES", "24")
    stream = Terminal()
    with StepScreen(stream) as screen:
        screen.show_rows([row(1, "running"), row(2, "waiting")])
        screen.show_rows([row(1, "done")])
    drawn = stream.getvalue()
    assert drawn == "\x1b[2Ktrial 1: ru\n\x1b[2Ktrial 2: wa\n\x1b[J\x1b[2A\x1b[2Ktrial 1: do\n\x1b[J"
