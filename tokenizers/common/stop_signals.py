"""Signals that ask a command to stop when it can: SIGTERM and SIGUSR1, which schedulers send before they take a machine."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


def wait_unless(is_stopped: Callable[[], bool], seconds: float) -> None:
    """Waits for so many seconds, or until `is_stopped`: a signal alone does not end a wait."""
    until = time.monotonic() + seconds
    while not is_stopped() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


class StopSignals:
    """Remembers, while it is entered, that one of the signals came; puts the handlers back on leaving.

    Python runs handlers between two calls into TensorFlow only, so a run learns of it at the end of a loop of steps.
    Outside of the main thread, where Python lets nobody handle signals, it does nothing.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self._signals = signals
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in self._signals}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_received(self) -> bool:
        return self.received is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
