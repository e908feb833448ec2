"""Google's own fake of Pub/Sub, built from its Go module and started; tests that need it are skipped where there is no Go."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helper_folder import HELPERS

_BUILD_SECONDS = 600


def built(folder: Path) -> Path:
    """The program, built anew where Go's cache does not have it."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Google's fake of Pub/Sub is built with Go, which is not installed (golang.org)")
    program = folder / "pstest"
    command = [go, "build", "-buildvcs=false", "-o", str(program), "."]
    ran = subprocess.run(
        command, cwd=HELPERS / "pstest", capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )
    if ran.returncode != 0:
        pytest.skip(f"Google's fake of Pub/Sub could not be built: {' '.join(ran.stderr.split())[-300:]}")
    return program


class PubSubServer:
    """A fresh server. address: host:port."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self.address = self._answer()

    def put_ahead(self, seconds: int) -> None:
        """Its clock, so that leases end at once."""
        self._input.write(f"{seconds}\n".encode())
        self._input.flush()
        assert self._answer() == str(seconds)

    def _answer(self) -> str:
        return self._output.readline().decode().strip()


@contextmanager
def pubsub_server(program: Path) -> Iterator[PubSubServer]:
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            yield PubSubServer(process)
        finally:
            process.kill()
