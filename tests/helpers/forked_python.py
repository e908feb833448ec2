"""Python processes forked from one that has imported TensorFlow and Beam: each saves the CPU-seconds that importing takes.

What a process does before its first import of ours can't be seen in them; tests of that start Python itself. TensorFlow optimizes
their graphs where it does so in the process that starts them (tests/conftest.py), so that runs of both can be compared.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

from helper_folder import HELPERS

_CONTEXT = multiprocessing.get_context("forkserver")
# Imported, and nothing more: TensorFlow's runtime starts in each process by itself, so devices can still be set.
_CONTEXT.set_forkserver_preload(["preloaded"])


def _start_server() -> None:
    """Starts what forks, if it doesn't run yet. It would pass over what is not on the path of a new Python."""
    path = os.pathsep.join([str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):
        forkserver.ensure_running()


def _optimizes_graphs() -> bool:
    if "tensorflow" not in sys.modules:
        return True
    import tensorflow as tf

    return not tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)


def _run(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    directory: str,
    output: str,
    errors: str,
    optimizes_graphs: bool,
) -> None:
    """What `python ARGUMENTS` does, in this process."""
    if not optimizes_graphs:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    # Found in the environment once more.
    tempfile.tempdir = None
    for descriptor, path in ((1, output), (2, errors)):
        # Both may be one file, in which neither writes over the other.
        with Path(path).open("ab") as stream:
            os.dup2(stream.fileno(), descriptor)
    try:
        if arguments[0] == "-m":
            sys.argv = list(arguments[1:])
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(arguments[1], "<string>", "exec"), main.__dict__)
        else:
            sys.argv = list(arguments)
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        # A forked process ends without them.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()


class ForkedPython:
    """`python ARGUMENTS` with the methods of subprocess.Popen that tests use; what it says goes to a file, or to two."""

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], output: Path, errors: Path | None = None
    ) -> None:
        where = (str(Path.cwd()), str(output), str(errors or output))
        job = (arguments, dict(environment), *where, _optimizes_graphs())
        _start_server()
        self._process = _CONTEXT.Process(target=_run, args=job)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        # One that has ended may have lost its number to another process.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
