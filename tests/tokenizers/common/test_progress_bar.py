"""Progress: a bar on a terminal, whole lines in a log file."""

import io
import re
import sys

import pytest
from tqdm import tqdm

from clozekit.tokenizers.common import progress_bar
from clozekit.tokenizers.common.progress_bar import LINE_EVERY_SECONDS


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the lines of progress go by; tqdm's own clock stays."""
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    return now


def run(clock: list[float], screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, total: int | None) -> str:
    """What a bar of 60 seconds leaves on the screen, with a line of somebody else in between."""
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar.progress_bar(total=total, desc="training", unit=" steps") as bar:
        for second in range(60):
            clock[0] += 1
            bar.update(1)
            bar.refresh()
            if second == 30:
                tqdm.write("a line", file=screen)
    return screen.getvalue()


@pytest.mark.parametrize(
    ("total", "amount"), [(60, r"(\d+)%, \d+ of 60 steps in "), (None, r"(\d+) steps in ")], ids=["of 60", "open"]
)
def test_a_log_file_gets_whole_lines_now_and_then(
    total: int | None, amount: str, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run(clock, io.StringIO(), monkeypatch, total)
    assert "\r" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert lines.count("a line") == 1
    ours = [line for line in lines if line != "a line"]
    assert all(re.match("training: " + amount, line) for line in ours), ours
    assert len(ours) == 60 / LINE_EVERY_SECONDS + 1


def test_a_terminal_has_a_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\rtraining: " in run(clock, Terminal(), monkeypatch, 60)


def test_a_disabled_bar_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar.progress_bar(range(3), desc="x", disable=True) as bar:
        assert list(bar) == [0, 1, 2]
    assert screen.getvalue() == ""
