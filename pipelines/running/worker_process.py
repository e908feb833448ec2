"""A worker process of a local run: Beam's own, which ends with the process that started it, however that one ends.

`python -m clozekit.pipelines.running.worker_process PID`, where PID is the process of the command. On Linux the kernel kills the
worker when the thread that started it ends; Beam's thread waits for its worker, so that is when the process ends. Elsewhere
a thread looks now and then whether the parent is still the same.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from types import FrameType

from clozekit.pipelines.running.light_beam import load_beam_lightly
from clozekit.tokenizers.common.light_arrow import load_arrow_lightly
from clozekit.tokenizers.common.seldom_collection import collect_seldom

_SET_PARENT_DEATH_SIGNAL = 1
_LOOK_EVERY_SECONDS = 0.5


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Sees to it that this process gets the signal `number` when `parent`, which started it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, number, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent, number), daemon=True).start()
    # It may have ended before the kernel was asked.
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), number)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def main() -> None:
    # Ctrl-C goes to every process of a terminal: the command says the line, the workers go without one.
    signal.signal(signal.SIGINT, _leave)
    end_with_parent(int(sys.argv[1]))
    collect_seldom()
    load_beam_lightly()
    load_arrow_lightly()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
