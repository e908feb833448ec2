"""The tables of the pipeline's benchmark, from what its parts measured, and which targets they meet."""

from collections.abc import Mapping, Sequence
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
Rows = Sequence[Mapping[str, Any]]
HUGGING_FACE_TIMES, BERT_TIMES, DATATROVE_TIMES = 4.0, 10.0, 2.0
FILL_RATE, GROWTH, MEMORY_GROWTH = 0.995, 1.2, 1.5


def render(results: Results) -> str:
    lines = ["## The pipeline", "", "CPU-seconds of all processes of a run; a peak is resident memory.", ""]
    makers = {"compare": compare, "clean": clean, "fill": fill, "growth": growth, "memory": memory}
    headers = {tuple(part["on"]) for part in results.values()}
    if len(headers) == 1:
        lines += [*headers.pop(), ""]
    for part, maker in makers.items():
        if part in results:
            # Parts that were measured elsewhere or on another day say so each.
            lines += [*maker(results[part]), "", *([*results[part]["on"], ""] if headers else [])]
    return "\n".join([*lines, *targets(results)]) + "\n"


def compare(part: Mapping[str, Any]) -> list[str]:
    rows = part["rows"]
    lines = [
        f"### JSON lines to rows of 512, {part['corpus']}, {rows[0]['megabytes']:.1f} MB of text, no cleaning",
        "",
        "The median of three runs; BERT's script once.",
        "",
        "| | CPU-seconds a MB | times Clozekit's | start and imports, CPU-seconds | peak memory, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['name']} | {row['rate']:.3f} | {times(row, rows):.1f} | {row['start']:.1f} | {row['peak_mb']:,.0f} |"
        for row in rows
    ]


def clean(part: Mapping[str, Any]) -> list[str]:
    rows = part["rows"]
    lines = [
        f"### With cleaning, exact and near-duplicates, {part['corpus']}",
        "",
        "Lines of notice dropped, Gopher's quality rules but the one on alphabetic words (spaCy takes punctuation for words),",
        "MinHash of 14 x 8 over 5-word shingles, tokens of BERT uncased; thresholds alike in both. What a word is differs a",
        "little, so other documents are kept. One run each, nothing downloaded; datatrove in one process and spared what it",
        "can be (see `pipeline_runs.py`). It leaves the ids of documents one after the other, Clozekit packed rows.",
        "",
        "| | MB | CPU-seconds a MB | times Clozekit's | start and imports, CPU-seconds | peak memory, MB | documents | kept"
        " | of them by Clozekit too | tokens |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['name']} | {row['megabytes']:.1f} | {row['rate']:.3f} | {times(row, rows):.1f} | {row['start']:.1f}"
        f" | {row['peak_mb']:,.0f} | {row['documents']:,} | {row['kept']:,} | {row['kept_by_both']:,} | {row['tokens']:,} |"
        for row in rows
    ]


def fill(part: Mapping[str, Any]) -> list[str]:
    lines = ["### Fill rate at length 512", "", "| | tokens | rows | fill rate |", "|---|---:|---:|---:|"]
    return lines + [
        f"| {row['name']} | {row['tokens']:,} | {row['rows']:,} | {row['fill']:.4f} |" for row in part["rows"]
    ]


def growth(part: Mapping[str, Any]) -> list[str]:
    lines = [
        "### Growth: the corpus repeated, its words in another order",
        "",
        "The median of the rounds and, in brackets, the least and the most; without the imports and what a build of 10 MB",
        "takes (start), measured in the same round.",
        "",
        "| processes | MB of text | CPU-seconds a MB | rounds | start, CPU-seconds |",
        "|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['processes']} | {row['megabytes']:,.0f} | {row['rate']:.4f} ({min(row['rates']):.4f} to"
        f" {max(row['rates']):.4f}) | {len(row['rates'])} | {row['start']:.1f} |"
        for row in part["rows"]
    ]


def memory(part: Mapping[str, Any]) -> list[str]:
    lines = [
        "### Memory: the same corpus",
        "",
        "| | processes | MB of text | peak of a worker, MB | peak of the runner's process, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['name']} | {row['processes']} | {row['megabytes']:,.0f}"
        f" | {worker_peak(row):,.0f} | {'the same' if row['processes'] == 1 else format(row['peak_mb'], ',.0f')} |"
        for row in part["rows"]
    ]


def worker_peak(row: Mapping[str, Any]) -> float:
    return row["peak_mb"] if row["processes"] == 1 else row["worker_peak_mb"]


def times(row: Mapping[str, Any], rows: Rows) -> float:
    return row["rate"] / rows[0]["rate"]


def targets(results: Results) -> list[str]:
    """Which targets are met: as one number each, and whether more or less of it is better."""
    found: list[tuple[str, float, str, float]] = []
    for part, name, least in (
        ("compare", "Hugging Face", HUGGING_FACE_TIMES),
        ("compare", "BERT", BERT_TIMES),
        ("clean", "datatrove", DATATROVE_TIMES),
    ):
        rows = results.get(part, {}).get("rows", [])
        for row in rows:
            if row["name"].startswith(name):
                found.append((f"times less CPU than {row['name']}", times(row, rows), "at least", least))
    for row in results.get("fill", {}).get("rows", []):
        found.append((f"fill rate, {row['name']}", row["fill"], "at least", FILL_RATE))
    rows = results.get("growth", {}).get("rows", [])
    for processes in sorted({row["processes"] for row in rows}):
        rates = [row["rate"] for row in rows if row["processes"] == processes]
        name = f"growth, {processes} process{'es' if processes > 1 else ''}: most by least CPU-seconds a MB"
        found.append((name, max(rates) / min(rates), "at most", GROWTH))
    rows = results.get("memory", {}).get("rows", [])
    for name, processes in dict.fromkeys((row["name"], row["processes"]) for row in rows):
        small, large = (worker_peak(row) for row in rows if (row["name"], row["processes"]) == (name, processes))
        what = "a worker's peak of 2 processes" if processes > 1 else "the peak of one process"
        found.append((f"{what}, {name}: largest by smaller corpus", large / small, "less than", MEMORY_GROWTH))
    lines = ["### Targets", "", "| | measured | target | |", "|---|---:|---:|---|"]
    for name, value, relation, bound in found:
        met = value >= bound if relation == "at least" else value <= bound
        shown = f"{value:.4f}" if "fill" in name else f"{value:.2f}"
        lines.append(f"| {name} | {shown} | {relation} {bound:g} | {'met' if met else '**missed**'} |")
    return lines
