"""Locks: a second build is refused in one line, none is stale after kill -9, and what a killed run left is removed."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clozekit.pipelines.output_files import claim
from clozekit.pipelines.prepare import prepare, prepare_lengths
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.storage.locks import lock_directories, scratch_folder
from clozekit.pipelines.verify import verify_dataset
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.directory_locks import LOCK_FILE

# Takes what it is asked for, says so, and waits to be killed.
_HOLDER = """
import sys
from clozekit.pipelines.storage.locks import lock_directories, scratch_folder
with lock_directories(sys.argv[1:]), scratch_folder("held") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[subprocess.Popen[str], str]]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def start(*directories: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, *directories],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    return start


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_second_build_is_refused_until_the_first_is_killed(
    hold: Callable[..., tuple[subprocess.Popen[str], str]], corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    reading, options = ReadSettings((str(corpus),)), PrepareSettings(sequence_length=32)
    process, _ = hold(out)
    blocks = tmp_path / "out" / f"_blocks-{'0' * 16}" / f"{'1' * 32}"
    claim(out, [], ["0" * 16])
    blocks.parent.mkdir()
    blocks.write_bytes(b"x")
    for build in (
        lambda: prepare(reading, options, tokenizer_directory, out),
        # Its folders are other ones, what it leaves out would go into this one.
        lambda: prepare_lengths(reading, options, [32, 64], tokenizer_directory, out),
    ):
        with pytest.raises(InputError) as caught:
            build()
        assert str(caught.value) == (
            f"one build at a time writes into a directory, another one is at work in {out}; wait for it, or pass another"
            " --output"
        )
    assert blocks.exists()
    kill(process)
    # The file of the lock is still there, its owner is not.
    assert (tmp_path / "out" / LOCK_FILE).exists()
    assert prepare(reading, options, tokenizer_directory, out)[1]
    assert verify_dataset(out).problems == ()
    assert not [name for name in os.listdir(out) if name.startswith("_")]


def test_two_builds_at_once_end_with_one_whole_dataset(corpus: Path, tokenizer_directory: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--input", str(corpus), "--tokenizer", tokenizer_directory, "--output", str(out)]
    command = [sys.executable, "-m", "clozekit.deploy.cli", "prepare", *arguments, "--sequence-length", "32"]
    builds = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [build.communicate(timeout=300)[1] for build in builds]
    for build, error in zip(builds, errors, strict=True):
        # The second one is refused, or comes when the first is done and finds nothing to do.
        assert build.returncode == 0 or "another one is at work in" in error.splitlines()[-1], error
    assert 0 in [build.returncode for build in builds]
    assert verify_dataset(str(out)).problems == ()
    assert not [path.name for path in out.iterdir() if path.name.startswith("_")]


def test_the_lock_is_taken_by_one_of_many_threads_at_a_time(tmp_path: Path) -> None:
    inside, most, done, refused = 0, 0, 0, 0
    guard, together = threading.Lock(), threading.Barrier(4)

    def work() -> None:
        nonlocal inside, most, done, refused
        together.wait()
        for _ in range(300):
            try:
                with lock_directories([str(tmp_path)]):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    with guard:
                        inside -= 1
                        done += 1
            except InputError:
                with guard:
                    refused += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done + refused) == (1, 1200)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_locked_stays_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with lock_directories([str(tmp_path / "file" / "below"), "memory://bucket/out"]):
        pass


def test_scratch_folders_of_killed_runs_go_and_those_of_others_stay(
    hold: Callable[..., tuple[subprocess.Popen[str], str]],
) -> None:
    killed, left = hold()
    Path(left, "some-progress").write_bytes(b"1")
    kill(killed)
    alive, used = hold()
    assert not Path(left).exists()
    with scratch_folder("held") as folder:
        assert Path(used).exists() and Path(folder).exists()
        # Those of another name are not its business.
        with scratch_folder("other"):
            assert Path(folder).exists()
    assert Path(used).exists() and not Path(folder).exists()
    alive.communicate("")
    assert os.listdir(tempfile.gettempdir()) == []
