"""Ctrl-C and SIGTERM: whatever a command is doing then, it ends with one line and an exit status of its own.

SIGINT gives 130 and SIGTERM 143, as a shell has it; of `train` SIGTERM and SIGUSR1 give 75, for what schedulers start
again. After the signal nothing but that line is written to standard error: what the libraries say while they are torn down
helps nobody.
"""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

TRY_AGAIN = 75
# How long worker processes may stay: a bundle of theirs can last minutes, and the next run does it again.
_GRACE_SECONDS = 1.0


class Interruption:
    """While entered, a signal raises KeyboardInterrupt; `finish` then says the line. A second signal ends at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.command = "clozekit"
        self.debug = False
        # Whether the process must be gone soon, with its workers.
        self.has_workers = False
        self._before: dict[signal.Signals, Any] = {}
        self._screen = -1
        self._is_said = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._screen = os.dup(2)
            self.handle(signal.SIGINT, signal.SIGTERM)
        return self

    def handle(self, *numbers: signal.Signals) -> None:
        """Has these signals end the command; one that was ignored when it began (nohup, `&` in a script) still is."""
        for number in numbers:
            if self._screen >= 0 and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._interrupt)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # After a signal the handlers stay until the process has ended, which may take a moment.
        if self.received is None and self._screen >= 0:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            os.close(self._screen)

    @property
    def status(self) -> int:
        assert self.received is not None
        is_train = self.command == "clozekit train"
        return TRY_AGAIN if is_train and self.received != signal.SIGINT else 128 + self.received

    def finish(self) -> int:
        """Says the line, once; returns the exit status."""
        if not self._is_said:
            self._is_said = True
            assert self.received is not None
            what = "interrupted" if self.received == signal.SIGINT else f"stopped by {self.received.name}"
            # A progress bar on a terminal stands on the line that is begun.
            line = "\n" if os.isatty(self._screen) else ""
            os.write(self._screen, f"{line}{self.command}: {what}; run it again to go on\n".encode())
        return self.status

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._end_now()
        self.received = signal.Signals(number)
        if not self.debug:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            os.close(sink)
        if self.has_workers:
            timer = threading.Timer(_GRACE_SECONDS, self._end_now)
            timer.daemon = True
            timer.start()
        raise KeyboardInterrupt

    def _end_now(self) -> None:
        sys.stdout.flush()
        os._exit(self.finish())
