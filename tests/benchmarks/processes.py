"""Runs a command and says what it and all the processes it starts took: CPU-seconds, and the highest memory of each."""

import contextlib
import itertools
import json
import os
import re
import resource
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Measured(NamedTuple):
    """CPU-seconds of everything, of them before the work began; highest memory in MB of the first process and of the
    hungriest of those it started; the JSON at the end of its output, if there is any; the most MB on the disk of the folder that was
    watched, as it was seen every half second."""

    cpu_seconds: float
    start_seconds: float
    peak_mb: float
    worker_peak_mb: float
    said: dict[str, Any]
    peak_disk_mb: float = 0.0

    @property
    def work_seconds(self) -> float:
        return self.cpu_seconds - self.start_seconds


def measure(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Measured:
    """What a command says as `start` are the CPU-seconds it took before its work began; folder: whose disk is watched. Raises
    RuntimeError if it fails."""
    waited = _cpu_of_children()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        watched = _Watched(process.pid, folder)
        done = threading.Event()
        watcher = threading.Thread(target=lambda: watched.until(done), daemon=True)
        watcher.start()
        out, _ = process.communicate()
        done.set()
        watcher.join()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command} failed: {errors.read()[-2000:].decode(errors='replace')}")
    # The last object that begins a line: a line of its own, or a command's answer over many.
    text = out.decode().strip()
    last = text[text.rfind("\n{") + 1 :]
    said = json.loads(last) if last.startswith("{") and last.endswith("}") else {}
    workers = [peak for pid, peak in watched.peaks.items() if pid != process.pid]
    return Measured(
        # The first is exact for processes that were waited for, the second misses only the last moment of the others.
        max(_cpu_of_children() - waited, sum(watched.cpu.values())),
        said.get("start", 0.0),
        watched.peaks.get(process.pid, 0.0),
        max(workers, default=0.0),
        said,
        watched.peak_disk / 1e6,
    )


def resident_bytes(process: str, measure: Literal["VmRSS", "VmHWM"]) -> int:
    """Resident memory of a process, now or at its peak. `ru_maxrss` would not do: it begins with the peak of the process that
    started this one. Raises FileNotFoundError or ProcessLookupError if it has ended."""
    found = re.search(rf"{measure}:\s+(\d+) kB", Path("/proc", process, "status").read_text())
    if found is None:
        raise ProcessLookupError(f"process {process} has no {measure}: it has just ended")
    return int(found[1]) * 1024


def _bytes_on_disk(folder: Path) -> int:
    """Files may vanish meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, name)).st_blocks * 512
    return total


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class _Watched:
    """CPU-seconds and highest resident memory (MB) of every process of a session, as last seen in /proc; and the most bytes on the
    disk of a folder."""

    def __init__(self, session: int, folder: Path | None) -> None:
        self.session = session
        self.folder = folder
        self.peak_disk = 0
        self.cpu: dict[int, float] = {}
        self.peaks: dict[int, float] = {}

    def until(self, done: threading.Event) -> None:
        for turn in itertools.count():
            if done.wait(0.05):
                return
            self.look()
            if self.folder is not None and turn % 10 == 0:
                self.peak_disk = max(self.peak_disk, _bytes_on_disk(self.folder))

    def look(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) != self.session or fields[0] == "Z":
                    continue
                self.cpu[int(folder.name)] = (int(fields[11]) + int(fields[12])) / tick
                self.peaks[int(folder.name)] = resident_bytes(folder.name, "VmHWM") / 2**20
            except (FileNotFoundError, ProcessLookupError):
                continue
