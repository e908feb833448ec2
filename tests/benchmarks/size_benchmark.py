"""A build by the size of its corpus: CPU time, memory and disk at 1, 3 and 10 GB, and what a line through them says of 1 TB.

    make bench-size CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt
    python tests/benchmarks/size_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt --scratch /large/disk --into BENCHMARKS.md

Cleaned, with Gopher's rules, without exact and near-duplicates, to packed rows. The corpus is the given one repeated, with its words in
another order and near-duplicates among them (`corpora.py`). Each run is a process of its own; CPU time of all its processes is counted.
Ten GB need 30 GB of disk and half an hour.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from corpora import write_grown
from processes import measure
from tables import header, put_into

PACKAGES = ("apache-beam", "tfx-bsl", "numba", "numpy", "pyarrow")
RUNS = Path(__file__).parent / "pipeline_runs.py"
TERABYTE = 1e6
MEASURES = {
    "cpu": "CPU-seconds",
    "leader": "peak memory of the process that leads, MB",
    "worker": "peak memory of a worker, MB",
    "disk": "peak disk beside the corpus, MB",
}


class Build(NamedTuple):
    """Of so many MB of text: CPU-seconds without the imports, highest memory of the first process and of a worker (0: there is
    none), the most disk, and what was kept; MB."""

    megabytes: float
    cpu: float
    leader: float
    worker: float
    disk: float
    kept: int
    rows: int


def measured(corpus: Path, megabytes: float, num_workers: int, vocabulary: Path, scratch: Path) -> Build:
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=scratch) as folder:
        words = ["clozekit-clean", f"{corpus}/*.jsonl", str(vocabulary), f"{folder}/out", str(num_workers)]
        found = measure([sys.executable, str(RUNS), *words], folder=Path(folder))
    memory = (found.peak_mb, found.worker_peak_mb if num_workers > 1 else 0.0)
    said = (found.said["kept"], found.said["rows"])
    return Build(megabytes, found.work_seconds, *memory, found.peak_disk_mb, *said)


def line_through(builds: Sequence[Build], name: str) -> tuple[float, float]:
    """(at nothing, for each MB) of a measure, by least squares relative to what was measured: no size outweighs another."""
    sizes = np.array([build.megabytes for build in builds])
    values = np.array([getattr(build, name) for build in builds])
    columns = np.stack([np.ones_like(sizes), sizes], axis=1) / values[:, None]
    start, slope = np.linalg.lstsq(columns, np.ones_like(values), rcond=None)[0]
    return float(start), float(slope)


def render(by_workers: Mapping[int, Sequence[Build]]) -> list[str]:
    lines = [
        "| processes | MB of text | CPU-seconds | CPU-seconds a MB | peak memory of the process that leads, MB | of a worker, MB |"
        " peak disk beside the corpus, MB | for each MB of text | kept | rows |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for num_workers, builds in by_workers.items():
        for build in builds:
            worker = f"{build.worker:,.0f}" if build.worker else "the same"
            lines.append(
                f"| {num_workers} | {build.megabytes:,.0f} | {build.cpu:,.0f} | {build.cpu / build.megabytes:.4f} |"
                f" {build.leader:,.0f} | {worker} | {build.disk:,.0f} | {build.disk / build.megabytes:.2f} |"
                f" {build.kept:,} | {build.rows:,} |"
            )
    lines += [
        "",
        "A line through each measure (least squares of the relative errors), how far the builds lie from it at most, and what it says of 1 TB of"
        " text on one machine:",
        "",
        "| processes | measure | at the start | for each GB | farthest | at 1 TB |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for num_workers, builds in by_workers.items():
        for name, what in MEASURES.items():
            if len(builds) < 2 or not getattr(builds[0], name):
                continue
            start, slope = line_through(builds, name)
            farthest = max(abs((start + slope * one.megabytes) / getattr(one, name) - 1) for one in builds)
            lines.append(
                f"| {num_workers} | {what} | {start:,.0f} | {1000 * slope:,.1f} | {farthest:.1%} | {_at_terabyte(name, start, slope)} |"
            )
    return lines


def _at_terabyte(name: str, start: float, slope: float) -> str:
    value = start + slope * TERABYTE
    return f"{value / 3600:,.1f} core-hours" if name == "cpu" else f"{value / 1000:,.1f} GB"


def save_curves(path: Path, by_workers: Mapping[int, Sequence[Build]]) -> None:
    """An SVG: CPU time a MB, memory and disk by the size, both on scales of powers."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clozekit", "font.size": 10}):
        figure, axes = pyplot.subplots(1, 3, figsize=(11.5, 3.4), layout="constrained")
        for num_workers, builds in by_workers.items():
            sizes = [build.megabytes / 1000 for build in builds]
            name = f"{num_workers} process" + ("es" if num_workers > 1 else "")
            axes[0].plot(sizes, [build.cpu / build.megabytes for build in builds], marker="o", label=name)
            if num_workers > 1:
                axes[1].plot(sizes, [build.worker / 1000 for build in builds], marker="o", label=f"{name}: each worker")
                name += ": the leader"
            axes[1].plot(sizes, [build.leader / 1000 for build in builds], marker="o", label=name)
            axes[2].plot(sizes, [build.disk / 1000 for build in builds], marker="o", label=name)
        for each, title in zip(axes, ("CPU-seconds a MB", "peak memory, GB", "peak disk, GB"), strict=True):
            each.set(title=title, xlabel="GB of text", xscale="log")
            each.set_xticks(sizes, [f"{size:g}" for size in sizes])
            each.minorticks_off()
            each.set_ylim(bottom=0)
            each.grid(alpha=0.3)
        axes[1].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl[.gz] of documents")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1000, 3000, 10_000], help="MB of text")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--results", type=Path, default=Path("build/size_benchmark.json"), help="what was measured")
    parser.add_argument("--scratch", type=Path, help="a folder with three times the largest size of room")
    parser.add_argument("--chart", type=Path, help="where the curves go, .svg")
    parser.add_argument("--into", type=Path, help="a document with the mark of this benchmark")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8")) if arguments.results.exists() else {}
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as folder:
        scratch = Path(folder)
        # A tokenizer directory holds its vocabulary under this name.
        vocabulary = scratch / "vocab.txt"
        shutil.copyfile(arguments.bert_vocabulary, vocabulary)
        # Compiled code is made now and kept, as it is for a user's second build.
        for megabytes in [10.0, *sorted(arguments.sizes)]:
            corpus = scratch / "corpus"
            write_grown(arguments.corpus, corpus, megabytes)
            for num_workers in arguments.processes:
                build = measured(corpus, megabytes, num_workers, vocabulary, scratch)
                print(num_workers, build, file=sys.stderr, flush=True)
                if megabytes in arguments.sizes:
                    results.setdefault(str(num_workers), {})[f"{megabytes:g}"] = build
                    arguments.results.parent.mkdir(parents=True, exist_ok=True)
                    arguments.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(corpus)
    by_workers = {
        int(name): sorted(Build(*build) for build in found.values()) for name, found in sorted(results.items())
    }
    lines = [
        "## A build by the size of its corpus",
        "",
        "`make bench-size`. Cleaned, with Gopher's rules, without exact and near-duplicates, tokens of BERT uncased, packed rows of 512; the corpus is",
        "cpp_docs repeated, its words in another order, one document in ten a near-duplicate. One build each; imports apart.",
        "",
        *header(PACKAGES),
        "",
        *render(by_workers),
        "",
    ]
    section = "\n".join(lines)
    print(section)
    if arguments.chart is not None:
        save_curves(arguments.chart, by_workers)
    if arguments.into is not None:
        put_into(arguments.into, "size", section)


if __name__ == "__main__":
    main()
