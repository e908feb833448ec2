"""Builds that are killed: no half dataset, one clear line, and the next run gives the same bytes without redoing shards.

Two random moments by default; CLOZEKIT_FULL=1 tries twenty.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_python import ForkedPython
from long_variants import FULL
from processes import started

from clozekit.pipelines.dataset.manifest import Manifest, has_manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.verify import verify_dataset

# Many, so that writing them takes long enough to be interrupted.
NUM_SHARDS = 200
OPTIONS = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=NUM_SHARDS)
NUM_MOMENTS = 20 if FULL else 2


@pytest.fixture(scope="module")
def uninterrupted(
    corpus: Path, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ReadSettings, Manifest]:
    reading = ReadSettings((str(corpus),))
    directory = str(tmp_path_factory.mktemp("uninterrupted"))
    return reading, prepare(reading, OPTIONS, tokenizer_directory, directory)[0]


def command(reading: ReadSettings, tokenizer: str, directory: Path, num_workers: int = 1) -> list[str]:
    arguments = ["--input", *reading.inputs, "--tokenizer", tokenizer, "--output", str(directory)]
    arguments += ["--sequence-length", "32", "--validation-rate", "0.1", "--num-shards", str(NUM_SHARDS)]
    return ["-m", "clozekit.deploy.cli", "prepare", *arguments, "--num-workers", str(num_workers)]


def finished_shards(directory: Path) -> dict[str, tuple[int, int]]:
    """Shards that a part file names and that are there, with what changes when one is written again."""
    finished = {}
    for part in directory.glob("_parts/*/*.json"):
        name = json.loads(part.read_text())["name"]
        # The part comes first, and counts once the shard is there.
        if not (directory / name).exists():
            continue
        status = (directory / name).stat()
        finished[name] = (status.st_ino, status.st_mtime_ns)
    return finished


def wait_until(process: subprocess.Popen[str] | ForkedPython, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not reached():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.001)


def check_rerun(directory: Path, uninterrupted: tuple[ReadSettings, Manifest], tokenizer_directory: str) -> None:
    """Runs the build again: the same dataset, and what was finished is left as it was."""
    reading, expected = uninterrupted
    before = finished_shards(directory)
    manifest, _ = prepare(reading, OPTIONS, tokenizer_directory, str(directory))
    assert manifest.dataset_sha256 == expected.dataset_sha256
    after = {name: (directory / name).stat() for name in before}
    assert before == {name: (status.st_ino, status.st_mtime_ns) for name, status in after.items()}
    assert verify_dataset(str(directory)).problems == ()
    shards = {shard.name for split in manifest.splits.values() for shard in split.shards}
    assert {path.name for path in directory.iterdir()} == {
        *shards,
        ".clozekit-files.json",
        "data-card.md",
        "manifest.json",
        "report.html",
        "tokenizer",
    }


def test_killed_at_random_moments_and_run_again(
    uninterrupted: tuple[ReadSettings, Manifest], tokenizer_directory: str, tmp_path: Path
) -> None:
    dice = random.Random(5)
    written: list[int] = []
    for moment in range(NUM_MOMENTS):
        directory = tmp_path / f"out-{moment}"
        # From the first file in the directory to the last shard: after so many part files, and a little later.
        num_parts, delay = dice.randint(0, NUM_SHARDS), dice.uniform(0, 0.01)
        with started(*command(uninterrupted[0], tokenizer_directory, directory)) as child:
            process = child.process
            wait_until(process, lambda d=directory, n=num_parts: d.exists() and len([*d.glob("_parts/*/*.json")]) >= n)  # type: ignore[misc]
            time.sleep(delay)
            child.kill()
            assert child.ended() == -signal.SIGKILL
        assert not has_manifest(str(directory)) or verify_dataset(str(directory)).problems == ()
        written.append(len(finished_shards(directory)))
        check_rerun(directory, uninterrupted, tokenizer_directory)
    # The moments fell into the writing, or nothing was shown about finished shards.
    assert any(0 < number <= NUM_SHARDS for number in written), written


def worker_processes(session: int) -> list[int]:
    """The worker processes in a session, from /proc, the busiest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # Behind the name: state, parent, process group, session; the 12th and 13th are its CPU time.
        if int(fields[3]) == session and fields[0] != "Z" and b"clozekit.pipelines.running.worker_process" in command:
            found.append((int(fields[11]) + int(fields[12]), int(folder.name)))
    return [pid for _, pid in sorted(found, reverse=True)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found through /proc, as Linux has it")
def test_a_killed_worker_process_fails_the_run_in_one_line_and_the_rerun_completes_it(
    uninterrupted: tuple[ReadSettings, Manifest], tokenizer_directory: str, tmp_path: Path
) -> None:
    directory = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, *command(uninterrupted[0], tokenizer_directory, directory, num_workers=2)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(process, lambda: len([*directory.glob("_parts/*/*.json")]) >= 3)
        workers = worker_processes(process.pid)
        assert len(workers) >= 2
        os.kill(workers[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        # Nothing else stays behind either.
        deadline = time.monotonic() + 30
        while worker_processes(process.pid):
            assert time.monotonic() < deadline, "worker processes were left behind"
            time.sleep(0.05)
    finally:
        if process.poll() is None or worker_processes(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    lines = [line for line in errors.replace("\r", "\n").splitlines() if "%|" not in line and "B/s" not in line]
    assert [line for line in lines if line.strip()] == [
        "clozekit prepare: a worker process ended before its work was done (killed, or out of memory); run the same command"
        " again: it goes on with what is missing"
    ]
    assert not has_manifest(str(directory))
    check_rerun(directory, uninterrupted, tokenizer_directory)
