"""Signals: one line, an exit status each, no process left two seconds later, the next build removes what is left behind.

The commonest by default; CLOZEKIT_FULL=1 tries each signal on each command that starts processes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from long_variants import FULL

from clozekit.deploy.cli.interruption import Interruption
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.running.runners import open_pipeline, runner_options

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")

INTERRUPTED, STOPPED = "interrupted; run it again to resume", "stopped by SIGTERM; run it again to resume"


@dataclass(frozen=True)
class Ending:
    """A signal, whom it is sent to, and how the command ends."""

    number: signal.Signals
    to_group: bool
    status: int
    line: str | None


ENDINGS = {
    "kill -9": Ending(signal.SIGKILL, False, -signal.SIGKILL, None),
    "Ctrl-C": Ending(signal.SIGINT, True, 130, INTERRUPTED),
    "SIGINT": Ending(signal.SIGINT, False, 130, INTERRUPTED),
    "SIGTERM": Ending(signal.SIGTERM, False, 143, STOPPED),
    "SIGTERM to all": Ending(signal.SIGTERM, True, 143, STOPPED),
    "SIGHUP": Ending(signal.SIGHUP, False, -signal.SIGHUP, None),
}


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """Processes inherit what is ignored, as SIGINT is where the tests run in the background of a script."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.002)


def start(arguments: list[str], temporary: Path) -> subprocess.Popen[bytes]:
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "clozekit.deploy.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def end(process: subprocess.Popen[bytes], ending: Ending, command: str) -> None:
    """Sends the signal, and looks at what is left of the processes and on the screen."""
    send = os.killpg if ending.to_group else os.kill
    sent = time.monotonic()
    send(process.pid, ending.number)
    try:
        while session_of(process.pid) and time.monotonic() < sent + 2:
            time.sleep(0.02)
        assert session_of(process.pid) == []
        _, errors = process.communicate(timeout=10)
    finally:
        if session_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == ending.status
    lines = [line for line in errors.decode().splitlines() if not line.startswith(("read:", "exported:"))]
    assert lines == ([] if ending.line is None else [f"clozekit {command}: {ending.line}"])


def has_workers(process: subprocess.Popen[bytes], number: int) -> bool:
    return len(session_of(process.pid)) > number


@pytest.mark.parametrize("name", ENDINGS if FULL else ["kill -9", "SIGINT"])
@pytest.mark.parametrize("command", ["prepare", "vocab", "export"] if FULL else ["prepare"])
def test_no_process_is_left_two_seconds_after_a_signal(
    name: str, command: str, dataset: tuple[str, Manifest], corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    copies = tmp_path / "documents.jsonl"
    copies.write_bytes(corpus.read_bytes() * 100)
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    arguments = {
        "prepare": ["--input", str(copies), "--tokenizer", tokenizer_directory, "--output", str(out)],
        "vocab": ["--input", str(copies), "--output", str(out)],
        "export": [dataset[0], str(out), "--to", "padded"],
    }[command]
    process = start([command, *arguments, "--num-workers", "2"], temporary)
    wait_until(lambda: has_workers(process, 2), process)
    end(process, ENDINGS[name], command)
    # What is still there belongs to nobody, so the next pipeline of this user removes it.
    assert all(path.name.startswith("clozekit-") for path in temporary.iterdir())


def test_the_next_pipeline_removes_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, signal\n"
        "from clozekit.pipelines.running.runners import open_pipeline, runner_options\n"
        "with open_pipeline(runner_options('FnApiRunner', 1, [])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    others = temporary / "beam-pipeline-tempxxxx"
    others.mkdir()
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(temporary)}, check=False)
    left = {path.name for path in temporary.iterdir()} - {others.name}
    assert [name[:14] for name in left] == ["clozekit-beam-"]
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with open_pipeline(runner_options("FnApiRunner", 1, [])) as root:
        _ = root
        assert left.isdisjoint(path.name for path in temporary.iterdir())
    assert list(temporary.iterdir()) == [others]


@pytest.mark.parametrize(
    ("arguments", "name", "status"),
    [
        (["prepare", "--input", "x", "--tokenizer", "x", "--output", "x"], "Ctrl-C", 130),
        (["train", "x.yaml"], "SIGTERM", 75),
        *([(["finetune", "x.yaml"], "SIGTERM", 143), (["fill", "x", "y"], "Ctrl-C", 130)] if FULL else []),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_command_that_still_loads_its_libraries_ends_in_one_line(
    arguments: list[str], name: str, status: int, tmp_path: Path
) -> None:
    # What is refused after the libraries have loaded.
    (tmp_path / "x.yaml").write_text("dataset: x\ndirectory: x\n", encoding="utf-8")
    (tmp_path / "docs").write_text("text", encoding="utf-8")
    arguments = [str(tmp_path / "x.yaml") if word == "x.yaml" else word for word in arguments]
    process = start(arguments, tmp_path / "temporary")
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "_multiarray_umath" in maps.read_text(), process)
    ending = ENDINGS[name]
    end(process, Ending(ending.number, ending.to_group, status, ending.line), arguments[0])


def test_what_was_ignored_before_stays_ignored_and_handlers_are_put_back() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
