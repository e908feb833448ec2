"""The process of a step: `clozekit VERB ...` with its output in a log; it ends with the process that leads it."""

import os
import posixpath
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.directory_locks import LOCK_FILE, open_locked
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, write_bytes_whole
from clozekit.tokenizers.storage.leases import Lease

# What runs the words of a step.
PROGRAM = (sys.executable, "-m", "clozekit.deploy.cli.step_command")
# What the command looks at to see which cores are its own; see deploy/cli/step_command.py.
CORES = "CLOZEKIT_STEP_CORES"
_TAIL_BYTES = 4096


class DoneMeanwhileError(Exception):
    """Another process has done the step."""


class StepProcess:
    """A running command.

    words: behind `clozekit`; log: a path or URL that what it says is added to, a URL at its end; cores: numbers among the cores of this
    process, none for all of them. Its standard input is a pipe that closes when this process ends, however it ends: then
    it is told to stop, so that no step goes on that nobody follows.

    Raises BlockingIOError while another process does this step: that of an earlier leader, or of `clozekit run --only`; DoneMeanwhileError where
    `is_done`, asked when no other process can do it any more, says so.
    """

    def __init__(self, words: Sequence[str], log: str, is_done: Callable[[], bool], cores: Sequence[int] = ()) -> None:
        filesystem, name = open_file_system(log)
        self._url = None if is_local(filesystem) else log
        self._before = b""
        # A bucket has no locks that the command could hold: this process has a lease while it runs.
        self._lease = None if self._url is None else _leased(posixpath.dirname(log))
        if self._url is None:
            self._path = Path(name)
            self._path.parent.mkdir(parents=True, exist_ok=True)
        else:
            handle, path = tempfile.mkstemp(prefix="clozekit-log-")
            os.close(handle)
            self._path = Path(path)
            if filesystem.exists(name):
                self._before = bytes(filesystem.cat_file(name))
        # The command holds the lock as long as it lives, longer than a leader that is killed; this process until `let_go`.
        held = self._held = [open_locked(str(self._path.with_name(LOCK_FILE)))] if self._url is None else []
        if is_done():
            self.let_go()
            if self._url is not None:
                self._path.unlink()
            raise DoneMeanwhileError
        self._log: IO[bytes] = self._path.open("ab")
        self._seen = self._path.stat().st_size
        environment = {**os.environ}
        if cores and hasattr(os, "sched_getaffinity"):
            mine = sorted(os.sched_getaffinity(0))
            environment[CORES] = ",".join(str(mine[number]) for number in cores if number < len(mine))
        # A group of its own: Ctrl-C in a terminal reaches the leader alone, which tells its steps.
        self._process = subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=held,
        )

    def poll(self) -> int | None:
        """The exit status, below 0 for a signal; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        return self._process.wait()

    def stop(self) -> None:
        """Tells it to save what it can and to end."""
        self._process.terminate()

    def last_line(self) -> str:
        """The last whole line that it has said."""
        with self._path.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(self._seen, end - _TAIL_BYTES))
            found = stream.read()
        whole = found[: found.rfind(b"\n") + 1].replace(b"\r", b"\n")
        lines = [line for line in whole.splitlines() if line.strip()]
        return lines[-1].decode("utf-8", "replace").strip() if lines else ""

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()
        if self._url is not None:
            write_bytes_whole(self._url, self._before + self._path.read_bytes())
            self._path.unlink()

    def let_go(self) -> None:
        """Lets others do the step, when all that is to be noted of it stands written."""
        for descriptor in self._held:
            os.close(descriptor)
        if self._lease is not None:
            self._lease.__exit__(None, None, None)


def _leased(folder: str) -> Lease:
    lease = Lease(posixpath.join(folder, f"{LOCK_FILE}.json"), folder, "another process does this step")
    try:
        return lease.__enter__()
    except InputError as error:
        raise BlockingIOError(str(error)) from error
