"""Platform tools end with the command that called them, and so does what they started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clozekit.deploy.submit.platform_tools import run_tool
from clozekit.deploy.submit.submit_errors import UnavailableError

CALL = "from clozekit.deploy.submit.platform_tools import run_tool; run_tool(['gcloud', 'wait'])"


def tool(directory: Path, script: str) -> dict[str, str]:
    """The environment in which `gcloud` is that script."""
    path = directory / "bin" / "gcloud"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{path.parent}:{os.environ['PATH']}"}


def is_there(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_two_seconds_after_a_kill_no_child_is_left(number: int, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    environment = tool(tmp_path, f"sleep 300 &\necho $! $$ > {pids}.new\nmv {pids}.new {pids}\nsleep 300")
    process = subprocess.Popen([sys.executable, "-c", CALL], env=environment, stderr=subprocess.DEVNULL)
    while not pids.exists():
        assert process.poll() is None
        time.sleep(0.01)
    children = [int(pid) for pid in pids.read_text().split()]
    process.send_signal(number)
    process.wait()
    end = time.monotonic() + 2
    while any(map(is_there, children)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(is_there, children))


def test_what_a_tool_is_given_and_says_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in tool(tmp_path, 'echo "$@"; cat; echo quota >&2; exit ${GIVEN:-0}').items():
        monkeypatch.setenv(name, value)
    assert run_tool(["gcloud", "a b", "c"], given="text", show=False) == "a b c\ntext"
    assert run_tool(["gcloud"], show=False) == "\n"
    monkeypatch.setenv("GIVEN", "3")
    with pytest.raises(Exception, match="gcloud refused: quota; change the job"):
        run_tool(["gcloud"], show=False)


def test_a_tool_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match="needs the command no-such-tool"):
        run_tool(["no-such-tool"], show=False)
