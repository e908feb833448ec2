"""Runs one platform tool so that nothing of it outlives the command that called it.

`python -m clozekit.deploy.submit.tool_process PID TOOL ARGUMENT ...`, where PID is the process of the command and this one leads a
session of its own. gcloud and its like are scripts that start others: when the command ends, however it does, all of them do.
"""

import os
import signal
import subprocess
import sys
from types import FrameType

from clozekit.pipelines.running.worker_process import end_with_parent


def _end_all(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    signal.signal(signal.SIGTERM, _end_all)
    end_with_parent(int(sys.argv[1]), signal.SIGTERM)
    status = subprocess.run(sys.argv[2:], check=False).returncode
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
