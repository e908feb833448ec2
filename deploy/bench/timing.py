"""Timing a piece of work again and again, and noticing kernels that are compiled meanwhile."""

import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_LEAST_TURNS = 3
# What takes less is done several times in a turn.
_LEAST_TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock and by the CPU, of this process and of the children that it has waited for. clock_share: seconds by
    the clock for each of the CPU."""

    seconds: float
    cpu_seconds: float
    clock_share: float


@contextmanager
def taking() -> Iterator[Callable[[], Taken]]:
    """Inside the block, and behind it, the function that is given says what was taken since its beginning."""
    clock, cpu = time.perf_counter(), _cpu_seconds()

    def taken() -> Taken:
        seconds, cpu_seconds = time.perf_counter() - clock, _cpu_seconds() - cpu
        return Taken(seconds, cpu_seconds, seconds / max(cpu_seconds, 1e-9))

    yield taken


def repeated(work: Callable[[], object], seconds: float) -> Taken:
    """What doing `work` once takes in the fastest of as many turns as go into `seconds`, three at least: other work on the
    machine only ever makes a turn slower. The share is that of all turns."""
    with taking() as first:
        work()
    times = max(1, math.ceil(_LEAST_TURN_SECONDS / first().seconds))
    turns: list[Taken] = []
    with taking() as taken:
        while len(turns) < _LEAST_TURNS or taken().seconds < seconds:
            with taking() as turn:
                for _ in range(times):
                    work()
            turns.append(turn())
    clock, cpu = (tuple(getattr(turn, name) for turn in turns) for name in ("seconds", "cpu_seconds"))
    return Taken(min(clock) / times, min(cpu) / times, sum(clock) / sum(cpu))


def warm_up(work: Callable[[], object]) -> bool:
    """Does `work` once, unmeasured; returns whether kernels were compiled for it, which happens once on a machine."""
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        work()
    return bool(recorder.buffer)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
