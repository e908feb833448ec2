"""What the benchmarks share: machine and versions in words, medians, and putting a section into BENCHMARKS.md."""

import datetime
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clozekit.tokenizers.common.cores_here import cores_here


def processor() -> str:
    """The machine in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    there, used = os.cpu_count(), cores_here()
    cores = f"{there} cores" if used == there else f"{there} cores, {used} used"
    return f"{names[0] if names else platform.processor()}, {cores}; Python {platform.python_version()}"


def versions(packages: Sequence[str]) -> str:
    """Names and versions of those that are installed."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def header(packages: Sequence[str]) -> list[str]:
    """The lines that say on what was measured."""
    return [
        f"- machine: {processor()}",
        f"- versions: {versions(packages)}",
        f"- date: {datetime.date.today().isoformat()}",
    ]


@dataclass(frozen=True)
class Turn:
    """What one run took. The CPU time is all threads' of this process: other work on the machine hardly changes it."""

    seconds: float
    cpu_seconds: float


def in_turns(runs: dict[str, Callable[[], None]], num_turns: int) -> dict[str, list[Turn]]:
    """Each of `runs`, `num_turns` times, one after the other, so that what else the machine does hits all alike."""
    turns: dict[str, list[Turn]] = {name: [] for name in runs}
    for number in range(num_turns):
        # The other way round every second time: whoever comes first has no advantage.
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            start, cpu_start = time.perf_counter(), time.process_time()
            runs[name]()
            turns[name].append(Turn(time.perf_counter() - start, time.process_time() - cpu_start))
    return turns


def put_into(path: Path, name: str, section: str) -> None:
    """Replaces the section between the markers of `name`, or adds it at the end."""
    begin, end = f"<!-- {name} benchmark: begin -->", f"<!-- {name} benchmark: end -->"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    section = section.rstrip("\n")
    path.write_text(f"{before}{begin}\n{section}\n{end}{after or chr(10)}", encoding="utf-8")
