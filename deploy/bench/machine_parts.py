"""Measuring the disk, and what Python takes to load libraries."""

import os
import subprocess
import sys
from collections.abc import Iterator

from clozekit.deploy.bench.measured import Measured, Workplace
from clozekit.deploy.bench.timing import Taken, repeated, taking

_WRITTEN_BYTES = 64_000_000
_TURNS = 2
# As the command loads them: each in a process of its own.
_BEAM = "from clozekit.pipelines.running.light_beam import load_beam_lightly; load_beam_lightly(); import apache_beam"
_TENSORFLOW = "from clozekit.deploy.quiet_loading import load_tensorflow; load_tensorflow()"


def measure_disk(place: Workplace) -> Iterator[Measured]:
    content = os.urandom(1_000_000)
    path = place.folder / "written"

    def write() -> None:
        with open(path, "wb") as stream:
            for _ in range(_WRITTEN_BYTES // len(content)):
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    taken = repeated(write, 0)
    path.unlink()
    yield Measured("disk.write", _WRITTEN_BYTES / 1e6 / taken.seconds)


def measure_start(place: Workplace) -> Iterator[Measured]:
    for name, words in (
        ("start.version", ["-m", "clozekit.deploy.cli", "--version"]),
        ("start.beam", ["-c", _BEAM]),
        ("start.tensorflow", ["-c", _TENSORFLOW]),
    ):
        # The first one also reads files from the disk.
        turns = [_started([sys.executable, *words]) for _ in range(_TURNS if place.seconds >= 10 else 1)]
        best = min(turns, key=lambda turn: turn.cpu_seconds)
        yield Measured(name, best.cpu_seconds, best.clock_share)


def _started(words: list[str]) -> Taken:
    with taking() as taken:
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return taken()
