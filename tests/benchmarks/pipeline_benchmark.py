"""The pipeline beside its peers: CPU-seconds for a MB of JSON lines to packed rows, fill rate, memory, growth.

    python tests/benchmarks/pipeline_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt --into BENCHMARKS.md

CPU time of all processes is counted, not wall time, so that other work on the machine matters little. Each run is a
process of its own; what it takes to start and import is measured apart. Needs the extra `bench`. `--bert-repository` is a
checkout of google-research/bert, whose create_pretraining_data.py is then run too, on `--bert-megabytes` of the corpus.

What each part measured is kept in `--results`; with `--only`, the other parts are shown as they were measured before.
"""

import argparse
import gzip
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# The folder of this script is its sys.path[0].
from corpora import records, text_megabytes, write_grown
from pipeline_tables import render
from processes import Measured, measure
from tables import header, put_into

PACKAGES = ["apache-beam", "tfx-bsl", "tensorflow", "numba", "numpy", "pyarrow", "datasets", "tokenizers", "datatrove"]
PACKAGES += ["spacy"]
RUNS = Path(__file__).parent / "pipeline_runs.py"
LENGTH = 512
# A build of so little text is the start of the processes, the graph, and what each worker loads once; of 1 MB it was
# not: one of two workers then never tokenized, and loaded less.
START_MEGABYTES = 10.0


def run(
    name: str,
    corpus: Path,
    arguments: argparse.Namespace,
    num_workers: int = 1,
    look: Callable[[Path], dict[str, Any]] | None = None,
) -> Measured:
    """Measures one of pipeline_runs.py; look: reads more from what it wrote."""
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as folder:
        paths = [str(corpus), str(arguments.bert_vocabulary), f"{folder}/out"]
        measured = measure([sys.executable, str(RUNS), name, *paths, str(num_workers)])
        if look is not None:
            measured.said.update(look(Path(folder) / "out"))
    shown = {key: value for key, value in measured.said.items() if not isinstance(value, list)}
    print(f"{name}, {corpus.name}, {num_workers} workers: {measured._replace(said=shown)}", file=sys.stderr)
    return measured


def median_run(num_runs: int, *args: Any) -> Measured:
    """The run with the median CPU time."""
    runs = sorted((run(*args) for _ in range(num_runs)), key=lambda measured: measured.cpu_seconds)
    return runs[len(runs) // 2]


def row(name: str, megabytes: float, measured: Measured) -> dict[str, Any]:
    """What the tables show of a run, as JSON."""
    return {
        "name": name,
        "megabytes": megabytes,
        "rate": measured.work_seconds / megabytes,
        "start": measured.start_seconds,
        "peak_mb": measured.peak_mb,
        "worker_peak_mb": measured.worker_peak_mb,
    }


def json_lines(arguments: argparse.Namespace) -> Path:
    return next(path for path in arguments.corpus if ".jsonl" in path.name)


def grown(megabytes: float, arguments: argparse.Namespace) -> Path:
    """The corpus of so many MB, made once."""
    folder = Path(arguments.scratch) / f"clozekit-grown-{megabytes:g}"
    # Its name has the suffix that JSON lines are known by.
    if not (folder / "in.jsonl").exists():
        write_grown(json_lines(arguments), folder / "writing", megabytes)
        (folder / "writing").rename(folder / "in.jsonl")
    return folder / "in.jsonl"


def measure_compare(arguments: argparse.Namespace) -> dict[str, Any]:
    corpus = json_lines(arguments)
    size = text_megabytes(corpus)
    rows = []
    for name, run_name in (
        ("Clozekit", "clozekit"),
        ("Hugging Face `datasets` + `tokenizers`, texts grouped", "hugging-face"),
    ):
        rows.append(row(name, size, median_run(arguments.rounds, run_name, corpus, arguments)))
    if arguments.bert_repository:
        measured, part = run_bert_script(arguments)
        rows.append(row(f"BERT's create_pretraining_data.py, on {part:.1f} MB, each document once", part, measured))
    return {"corpus": corpus.name.split(".")[0], "rows": rows}


def run_bert_script(arguments: argparse.Namespace) -> tuple[Measured, float]:
    """BERT's own script on some MB of the corpus, each document once (its default is ten times), and the MB it got.

    It is of TensorFlow 1: its copy imports `tensorflow.compat.v1` in place of `tensorflow`, and is else as it was.
    """
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as folder:
        for name in ("create_pretraining_data.py", "tokenization.py"):
            source = (arguments.bert_repository / name).read_text(encoding="utf-8")
            (Path(folder) / name).write_text(
                source.replace("import tensorflow as tf", "import tensorflow.compat.v1 as tf"), encoding="utf-8"
            )
        size = 0
        with open(f"{folder}/in.txt", "w", encoding="utf-8") as stream:
            for _, text in records(json_lines(arguments)):
                if size + len(text.encode()) > arguments.bert_megabytes * 1e6:
                    break
                size += len(text.encode())
                stream.write("\n".join(line for line in text.splitlines() if line.strip()) + "\n\n")
        command = [sys.executable, f"{folder}/create_pretraining_data.py", f"--input_file={folder}/in.txt"]
        command += [f"--output_file={folder}/out.tfrecord", f"--vocab_file={arguments.bert_vocabulary}"]
        command += [f"--max_seq_length={LENGTH}", "--max_predictions_per_seq=76", "--dupe_factor=1"]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        measured = measure(command, environment)
        (Path(folder) / "empty.txt").write_text("a b c\n\nd e f\n", encoding="utf-8")
        command[2] = f"--input_file={folder}/empty.txt"
        nothing = measure(command, environment)
    measured = measured._replace(start_seconds=nothing.cpu_seconds)
    print(f"bert script: {measured}", file=sys.stderr)
    return measured, size / 1e6


def measure_clean(arguments: argparse.Namespace) -> dict[str, Any]:
    """Cleaned, without exact and near-duplicates, tokenized: Clozekit and datatrove, and which documents each kept."""
    corpus = json_lines(arguments)
    all_ids = [identifier for identifier, _ in records(corpus)]
    runs: list[tuple[str, str, Path, Callable[[Path], list[str]]]] = [
        ("Clozekit", "clozekit-clean", corpus, lambda out: kept_by_clozekit(out, all_ids)),
        ("datatrove, words at white space (given by us)", "datatrove-plain-words", corpus, kept_by_datatrove),
        ("datatrove, words by spaCy (its default)", "datatrove", begin(corpus, arguments), kept_by_datatrove),
    ]
    rows = []
    ours: set[str] = set()
    for name, run_name, texts, look in runs:
        size, num_documents = text_megabytes(texts), sum(1 for _ in records(texts))
        measured = run(run_name, texts, arguments, 1, lambda out, look=look: {"ids": look(out)})
        ids = set(measured.said["ids"])
        ours = ours or ids
        figures = {"documents": num_documents, "kept": len(ids), "kept_by_both": len(ids & ours)}
        rows.append({**row(name, size, measured), **figures, "tokens": measured.said["tokens"]})
    return {"corpus": corpus.name.split(".")[0], "rows": rows}


def begin(corpus: Path, arguments: argparse.Namespace) -> Path:
    """The first MB of the corpus, for what takes long."""
    path = Path(arguments.scratch) / f"clozekit-begin-{arguments.spacy_megabytes:g}" / "in.jsonl"
    path.parent.mkdir(exist_ok=True)
    size = 0
    with open(path, "w", encoding="utf-8") as stream:
        for identifier, text in records(corpus):
            size += len(text.encode())
            if size > arguments.spacy_megabytes * 1e6:
                break
            stream.write(json.dumps({"id": identifier, "text": text}, ensure_ascii=False) + "\n")
    return path


def kept_by_clozekit(out: Path, all_ids: Sequence[str]) -> list[str]:
    left = set()
    for folder in ("rejects", "duplicates"):
        for path in (out / folder).glob("part-*.jsonl*"):
            open_ = gzip.open if path.suffix == ".gz" else open
            with open_(path, "rt", encoding="utf-8") as lines:
                left |= {json.loads(line)["id"] for line in lines}
    return [identifier for identifier in all_ids if identifier not in left]


def kept_by_datatrove(out: Path) -> list[str]:
    ids = [identifier for path in sorted((out / "filtered").glob("*.jsonl")) for identifier, _ in records(path)]
    removed = b"".join(path.read_bytes() for path in (out / "remove").glob("*.remove"))
    left = {int.from_bytes(removed[place : place + 4], "little") for place in range(0, len(removed), 4)}
    return [identifier for place, identifier in enumerate(ids) if place not in left]


def measure_fill(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for corpus in arguments.corpus:
        said = run("clozekit", corpus, arguments).said
        rows.append({"name": corpus.name.split(".")[0], **{key: said[key] for key in ("tokens", "rows", "fill")}})
    return {"rows": rows}


def measure_growth(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU-seconds a MB beyond START_MEGABYTES at each size, without the imports, which are measured in each run:
    other work on the machine moves those by a second, which would be all of the difference at 50 MB.

    The sizes take turns, so that what else the machine does hits all alike.
    """
    rows = []
    for num_workers in arguments.processes:
        sizes = [START_MEGABYTES, *arguments.sizes]
        rounds = [
            [run("clozekit", grown(size, arguments), arguments, num_workers) for size in sizes]
            for _ in range(arguments.rounds)
        ]
        start = statistics.median(runs[0].cpu_seconds for runs in rounds)
        for place, size in enumerate(sizes[1:], start=1):
            seconds = [runs[place].work_seconds - runs[0].work_seconds for runs in rounds]
            rates = [one / (size - START_MEGABYTES) for one in seconds]
            figures = {"rate": statistics.median(rates), "rates": rates, "start": start}
            rows.append({"name": "as read", "megabytes": size, "processes": num_workers, **figures})
    return {"rows": rows}


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for name, run_name in (("as read", "clozekit"), ("cleaned, deduplicated", "clozekit-clean")):
        for num_workers in arguments.processes:
            for megabytes in arguments.sizes[-2:]:
                measured = run(run_name, grown(megabytes, arguments), arguments, num_workers)
                figures = {"processes": num_workers, "kept": measured.said["kept"]}
                rows.append({**row(name, megabytes, measured), **figures})
    return {"rows": rows}


PARTS = {
    "compare": measure_compare,
    "clean": measure_clean,
    "fill": measure_fill,
    "growth": measure_growth,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", action="append", type=Path, required=True, help=".jsonl[.gz] or text; repeatable")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased")
    parser.add_argument("--bert-repository", type=Path, help="a checkout of google-research/bert")
    parser.add_argument("--bert-megabytes", type=float, default=2.0, help="of the corpus, for BERT's script")
    parser.add_argument("--spacy-megabytes", type=float, default=8.0, help="of the corpus, for datatrove with spaCy")
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="of the growth and memory runs")
    parser.add_argument("--sizes", type=float, nargs="*", default=[50, 200, 1000], help="MB of text of those runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="measure these parts")
    parser.add_argument("--results", type=Path, default=Path("build/pipeline_benchmark.json"), help="what was measured")
    parser.add_argument("--scratch", help="a folder with 10 GB of room; the grown corpora stay in it")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8")) if arguments.results.exists() else {}
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-") as folder:
        # A tokenizer directory holds its vocabulary under this name.
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_bytes(arguments.bert_vocabulary.read_bytes())
        arguments.bert_vocabulary = vocabulary
        arguments.scratch = arguments.scratch or folder
        for part in arguments.only:
            # Compiled code is made now and kept, as it is for a user's second build.
            warm_up = "clozekit-clean" if part in ("clean", "memory") else "clozekit"
            run(warm_up, grown(START_MEGABYTES, arguments), arguments)
            before = results.get(part, {}).get("rows", [])
            results[part] = {"on": header(PACKAGES), **PARTS[part](arguments)}
            # What was measured with other numbers of processes stays.
            kept = [old for old in before if old.get("processes", arguments.processes[0]) not in arguments.processes]
            results[part]["rows"] = sorted([*results[part]["rows"], *kept], key=lambda old: old.get("processes", 0))
            arguments.results.parent.mkdir(parents=True, exist_ok=True)
            arguments.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    section = render(results)
    print(section)
    if arguments.into:
        put_into(arguments.into, "pipeline", section)


if __name__ == "__main__":
    main()
