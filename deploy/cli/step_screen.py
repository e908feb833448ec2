"""The screen of `clozekit run`: one line a step on a terminal, drawn over and over; a line now and then in a log file."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from clozekit.tokenizers.common.progress_bar import LINE_EVERY_SECONDS

if TYPE_CHECKING:
    from clozekit.deploy.workflow.run_steps import StepState

_DRAW_EVERY_SECONDS = 0.25


@dataclass(frozen=True)
class ScreenRow:
    """A line of the screen. name: tells it from the others; phase: of which each change is news; last: what it says, which is news
    now and then."""

    name: str
    phase: str
    line: str
    last: str = ""


class StepScreen:
    """Shows the states of all steps while it is entered. stream: a terminal or a file."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._is_terminal = stream, stream.isatty()
        self._drawn: list[str] = []
        self._phases: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._said = self._drawn_at = 0.0
        self._rows: Sequence[ScreenRow] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_terminal and self._rows:
            self._draw()

    def show(self, states: Sequence["StepState"]) -> None:
        """Is told whenever something may have changed."""
        self.show_rows([row_of(state) for state in states])

    def show_rows(self, rows: Sequence[ScreenRow]) -> None:
        """As `show`, of rows that stand for more than a step each."""
        self._rows = rows
        if self._is_terminal:
            if time.monotonic() - self._drawn_at >= _DRAW_EVERY_SECONDS:
                self._draw()
            return
        now = time.monotonic()
        is_due = now - self._said >= LINE_EVERY_SECONDS
        for row in rows:
            has_more = is_due and row.phase == "running" and row.last != self._last.get(row.name, "")
            if self._phases.get(row.name, "waiting") != row.phase or has_more:
                self._write(row.line)
                self._last[row.name] = row.last
            self._phases[row.name] = row.phase
        if is_due:
            self._said = now

    def _draw(self) -> None:
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in fitting(self._rows, height - 1)]
        up = f"\x1b[{len(self._drawn)}A" if self._drawn else ""
        # Below it may stand what was drawn when there were more lines.
        self._stream.write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        self._stream.flush()
        self._drawn, self._drawn_at = lines, time.monotonic()

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def fitting(rows: Sequence[ScreenRow], height: int) -> list[str]:
    """The lines of as many rows as a terminal has lines: what goes on and what failed first, in their order; of the others, where
    there is no room, how many they are."""
    if len(rows) <= height:
        return [row.line for row in rows]
    urgent = [row for row in rows if row.phase in ("running", "failed")]
    others = [row for row in rows if row not in urgent]
    room = max(height - 1, 0)
    kept = [*urgent[:room], *others[: max(room - len(urgent), 0)]]
    left = [row.phase for row in rows if row not in kept]
    counts = ", ".join(f"{left.count(phase)} {phase}" for phase in dict.fromkeys(left))
    return [*(row.line for row in rows if row in kept), f"and {counts}"]


def row_of(state: "StepState") -> ScreenRow:
    return ScreenRow(state.planned.name, state.phase, _line(state), state.last)


def _line(state: "StepState") -> str:
    """How a step stands, in a line."""
    what = f"{state.planned.name} ({state.planned.step.verb}): {state.phase}"
    minutes, seconds = divmod(round(state.seconds), 60)
    took = (
        f" {minutes:02d}:{seconds:02d}"
        if state.phase in ("running", "done", "failed", "stopped") and state.began
        else ""
    )
    why = f", {state.planned.reason}" if state.phase == "running" and not state.last else ""
    last = f", {state.last}" if state.last and state.phase in ("running", "failed") else ""
    return f"{what}{took}{why}{last}"
