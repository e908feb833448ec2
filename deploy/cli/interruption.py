"""Ctrl-C and SIGTERM: whatever a command is doing then, it ends with one line and an exit status of its own.

SIGINT gives 130 and SIGTERM 143, as a shell has it; of `train` SIGTERM and SIGUSR1 give 75, for what schedulers start
again. After the signal nothing but that line is written to standard error: what the libraries say while they are torn down
helps nobody.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

TRY_AGAIN = 75
# How long worker processes may stay: a bundle of theirs can last minutes, and the next run does it again.
_GRACE_SECONDS = 0.6


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
        self._wake = (-1, -1)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._is_said = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._screen = os.dup(2)
            self._wake = os.pipe()
            os.set_blocking(self._wake[1], False)
            signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
            self._watcher.start()
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
            signal.set_wakeup_fd(-1)
            os.write(self._wake[1], bytes(1))
            self._watcher.join()
            for descriptor in (self._screen, *self._wake):
                os.close(descriptor)

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
            os.write(self._screen, f"{line}{self.command}: {what}; run it again to resume\n".encode())
        return self.status

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._end_now()
        self.received = signal.Signals(number)
        if not self.debug:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            os.close(sink)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        """Python handles signals in the main thread, when that comes to it: this thread learns of them at once, and sees
        to it that it does, or that the process ends."""
        while (number := os.read(self._wake[0], 1)[0]) != 0:
            # While a run of `train` handles it, it is none of ours.
            if signal.getsignal(number) != self._interrupt:
                continue
            time.sleep(_GRACE_SECONDS / 2)
            if self.received is None:
                # A signal that another thread has taken does not end a wait of the main thread.
                signal.pthread_kill(threading.main_thread().ident or 0, number)
            time.sleep(_GRACE_SECONDS / 2)
            if self.has_workers:
                self.received = self.received or signal.Signals(number)
                self._end_now()

    def _end_now(self) -> None:
        sys.stdout.flush()
        os._exit(self.finish())
