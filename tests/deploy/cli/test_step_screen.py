"""The screen of `clozekit run`: lines in a log file when something happens, one line a step on a terminal."""

import io
from pathlib import Path
from unittest import mock

import pytest
from workflows import RECIPE, look_at, run

from clozekit.deploy.cli import step_screen
from clozekit.deploy.cli.step_screen import StepScreen
from clozekit.deploy.workflow.run_steps import DONE, FAILED, RUNNING, SKIPPED, WAITING, StepState


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def states(tmp_path: Path) -> list[StepState]:
    import yaml

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "0.txt").write_text("a document")
    (tmp_path / "own_loss.py").write_text("")
    (tmp_path / "more.txt").write_text("")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return [StepState(one, WAITING) for one in look_at(tmp_path)][:3]


def test_a_log_file_gets_a_line_when_a_step_begins_and_ends_and_its_last_words_now_and_then(
    states: list[StepState],
) -> None:
    stream, clock = io.StringIO(), [100.0]
    words, data, _ = states
    with mock.patch.object(step_screen.time, "monotonic", lambda: clock[0]), StepScreen(stream) as screen:
        screen.show(states)
        words.phase = SKIPPED
        data.phase, data.began, data.seconds = RUNNING, 1.0, 2.0
        screen.show(states)
        for seconds, last in ((5.0, "1 of 9"), (5.0, "2 of 9"), (20.0, "2 of 9"), (20.0, "3 of 9")):
            clock[0] += seconds
            data.seconds += seconds
            data.last = last
            screen.show(states)
        data.phase, data.last = FAILED, "clozekit prepare: no such file"
        screen.show(states)
    assert stream.getvalue().splitlines() == [
        "words (vocab): skipped",
        "data (prepare): running 00:02, it was not made yet",
        "data (prepare): running 00:12, 2 of 9",
        # Nothing new is not said again.
        "data (prepare): running 00:52, 3 of 9",
        "data (prepare): failed 00:52, clozekit prepare: no such file",
    ]


def test_a_terminal_has_one_line_a_step_no_wider_than_it_is(states: list[StepState]) -> None:
    stream, clock = Terminal(), [100.0]
    states[1].last, states[1].phase, states[1].began = "x" * 500, RUNNING, 1.0
    with mock.patch.object(step_screen.time, "monotonic", lambda: clock[0]), StepScreen(stream) as screen:
        screen.show(states)
        states[1].phase = DONE
        # Too soon to be drawn; the end draws what is true then.
        screen.show(states)
    drawn = stream.getvalue().split("\x1b[3A")
    assert len(drawn) == 2
    # What stood below is cleared.
    text = drawn[1].removesuffix("\x1b[J")
    assert [line.removeprefix("\x1b[2K") for line in text.splitlines()] == [
        "words (vocab): waiting",
        "data (prepare): done 00:00",
        "model (train): waiting",
    ]
    assert all(len(line) < 90 for line in drawn[0].splitlines())


def test_a_workflow_tells_the_screen_how_every_step_ended(states: list[StepState], tmp_path: Path) -> None:
    stream = io.StringIO()
    with StepScreen(stream) as screen:
        run(tmp_path, until="data", tell=screen.show)
    lines = [line.partition(" 0")[0] for line in stream.getvalue().splitlines()]
    assert [line for line in lines if line.endswith("done")] == ["words (vocab): done", "data (prepare): done"]
