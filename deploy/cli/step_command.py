"""The command as a step of `clozekit run`: a process that ends when the one that leads it is gone."""

import os
import signal
import sys
import threading

from clozekit.deploy.cli.main import main
from clozekit.deploy.workflow.step_process import CORES


def _end_with_leader() -> None:
    """Waits for the end of standard input, which the leader holds open, and tells this process to stop."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    if cores := os.environ.pop(CORES, ""):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    threading.Thread(target=_end_with_leader, daemon=True).start()
    sys.exit(main())
