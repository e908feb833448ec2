"""Processes that tests start: on free ports, watched by their log, gone at the end."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from forked_python import ForkedPython

from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics

TIMEOUT_SECONDS = 300


def free_ports(count: int) -> list[int]:
    """Free loopback ports, different ones: all are held until all are known."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Child:
    """A running Python process and what it says."""

    def __init__(self, process: subprocess.Popen[bytes] | ForkedPython, output: Path) -> None:
        self.process = process
        self._output = output

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def ended(self) -> int:
        """Its exit status, waited for."""
        return self.process.wait(timeout=TIMEOUT_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(*arguments: str, inside: Sequence[str] = (), **variables: str) -> Iterator[Child]:
    """`python ARGUMENTS` as a process that does not outlive the block. variables: added to the environment; inside: words
    before the command, which must end by becoming it: then Python is started anew, and forked otherwise."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output"
        output.touch()
        environment = {**os.environ, **variables}
        if inside:
            with output.open("wb") as stream:
                command = [*inside, sys.executable, *arguments]
                process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
            child = Child(process, output)
        else:
            child = Child(ForkedPython(arguments, environment, output), output)
        try:
            yield child
        finally:
            child.kill()


def ran(*arguments: str) -> tuple[int, str]:
    """The exit status and the output of `python ARGUMENTS`, forked."""
    with started(*arguments) as child:
        return child.ended(), child.output()


def finished(*children: Child) -> None:
    """Waits for all of them; each must end well."""
    for child in children:
        assert child.ended() == 0, child.output()


def wait_for_step(directory: Path, step: int, child: Child, log_before: int | None = None) -> int:
    """Waits until the run in `directory` has logged `step`; returns the last step logged.

    log_before: the inode of the log that an earlier process left; a process writes its own.
    """
    path, end = directory / METRICS_FILE, time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        if path.exists() and path.stat().st_ino != log_before:
            last = max((entry["step"] for entry in read_metrics(path)), default=0)
            if last >= step:
                return int(last)
        assert child.process.poll() is None, child.output()
        time.sleep(0.005)
    raise AssertionError(f"step {step} never came: {child.output()}")


def log_inode(directory: Path) -> int | None:
    path = directory / METRICS_FILE
    return path.stat().st_ino if path.exists() else None
