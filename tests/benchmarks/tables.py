"""What the benchmarks share: machine and versions in words, medians, and putting a section into BENCHMARKS.md."""

import datetime
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def processor() -> str:
    """The machine in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores; Python {platform.python_version()}"


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


def alternating_medians(runs: dict[str, Callable[[], None]], num_runs: int = 5) -> dict[str, float]:
    """Median seconds of each, measured in turns, so that what else the machine does hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(num_runs):
        # The other way round every second time: whoever comes first has no advantage.
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def put_into(path: Path, name: str, section: str) -> None:
    """Replaces the section between the markers of `name`, or adds it at the end."""
    begin, end = f"<!-- {name} benchmark: begin -->", f"<!-- {name} benchmark: end -->"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{section}{end}{after or chr(10)}", encoding="utf-8")
