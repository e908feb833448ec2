"""The pipeline beside its peers: CPU-seconds for a MB of JSON lines to packed rows, fill rate, memory, growth.

    python tests/benchmarks/pipeline_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt --into BENCHMARKS.md

CPU time of all processes is counted, not wall time, so that other work on the machine matters little. Each run is a
process of its own; what it takes to start and import is measured apart. Needs the extra `bench`. `--bert-repository` is a
checkout of google-research/bert, whose create_pretraining_data.py is then run too, on `--bert-megabytes` of the corpus.
"""

import argparse
import datetime
import gzip
import importlib.metadata
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BEGIN, END = "<!-- pipeline benchmark: begin -->", "<!-- pipeline benchmark: end -->"
LENGTH = 512
PACKAGES = ["apache-beam", "tfx-bsl", "datasets", "tokenizers", "tensorflow", "numba", "numpy", "pyarrow"]


class Measured(NamedTuple):
    """CPU-seconds of everything, of them before the work began; highest memory in MB of the first process and of the
    hungriest of its worker processes; what the run said."""

    cpu_seconds: float
    start_seconds: float
    peak_mb: float
    worker_peak_mb: float
    said: dict[str, Any]

    @property
    def work_seconds(self) -> float:
        return self.cpu_seconds - self.start_seconds


# What runs in the measured processes; each says when its imports are done and what came out.


def run_clozekit(corpus: str, vocabulary: str, out: str, document: str, num_workers: int) -> dict[str, Any]:
    from clozekit.pipelines.options import PrepareOptions, ReadOptions
    from clozekit.pipelines.prepare import prepare

    started = time.process_time()
    manifest, _ = prepare(
        ReadOptions((corpus,), document_kind=document),
        PrepareOptions(sequence_length=LENGTH, validation_rate=0.0),
        str(Path(vocabulary).parent),
        out,
        num_workers=num_workers,
    )
    split = manifest.splits["train"]
    return {"start": started, "tokens": split.tokens, "rows": split.rows, "fill": manifest.fill_rate("train")}


def run_hugging_face(corpus: str, vocabulary: str, out: str, document: str, num_workers: int) -> dict[str, Any]:
    """Tokenized in batches, everything concatenated and cut into rows, as examples of masked-LM training do it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    datasets.disable_progress_bars()
    started = time.process_time()
    pieces = {line.rstrip("\n"): number for number, line in enumerate(open(vocabulary, encoding="utf-8"))}  # noqa: SIM115
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", pieces["[SEP]"]), ("[CLS]", pieces["[CLS]"]))

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encodings = tokenizer.encode_batch(batch["text"])
        return {
            "input_ids": [one.ids for one in encodings],
            "attention_mask": [one.attention_mask for one in encodings],
            "special_tokens_mask": [one.special_tokens_mask for one in encodings],
        }

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        rows = {}
        for name, lists in batch.items():
            joined = [value for one in lists for value in one]
            end = len(joined) // LENGTH * LENGTH
            rows[name] = [joined[start : start + LENGTH] for start in range(0, end, LENGTH)]
        return rows

    data = datasets.load_dataset("json", data_files=corpus, split="train", cache_dir=out)
    encoded = data.map(encode, batched=True, remove_columns=data.column_names)
    grouped = encoded.map(group, batched=True)
    return {"start": started, "tokens": len(grouped) * LENGTH, "rows": len(grouped), "fill": 1.0}


RUNS = {"clozekit": run_clozekit, "hugging-face": run_hugging_face}


def run_child(arguments: argparse.Namespace) -> None:
    result = RUNS[arguments.run](
        str(arguments.corpus[0]),
        str(arguments.bert_vocabulary),
        arguments.out,
        arguments.document,
        arguments.num_workers,
    )
    print(json.dumps(result))


def measure(command: Sequence[str], environment: dict[str, str] | None = None) -> Measured:
    """Runs a command and watches it and all it starts, through /proc."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        watched = Watched(process.pid)
        done = threading.Event()
        watcher = threading.Thread(target=lambda: watched.until(done), daemon=True)
        watcher.start()
        out, _ = process.communicate()
        done.set()
        watcher.join()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command} failed: {errors.read()[-2000:].decode(errors='replace')}")
    lines = out.decode().strip().splitlines()
    said = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    workers = [peak for pid, peak in watched.peaks.items() if pid != process.pid]
    return Measured(
        sum(watched.cpu.values()),
        said.get("start", 0.0),
        watched.peaks.get(process.pid, 0.0),
        max(workers, default=0.0),
        said,
    )


class Watched:
    """CPU-seconds and highest resident memory (MB) of every process of a session, as last seen."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.cpu: dict[int, float] = {}
        self.peaks: dict[int, float] = {}

    def until(self, done: threading.Event) -> None:
        while not done.wait(0.05):
            self.look()

    def look(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) != self.session or fields[0] == "Z":
                    continue
                status = (folder / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            self.cpu[int(folder.name)] = (int(fields[11]) + int(fields[12])) / tick
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            if peak:
                self.peaks[int(folder.name)] = int(peak[1]) / 1024


def our_run(run: str, corpus: Path, arguments: argparse.Namespace, num_workers: int = 1) -> Measured:
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as out:
        command = [sys.executable, __file__, "--run", run, "--corpus", str(corpus), "--out", f"{out}/out"]
        command += ["--bert-vocabulary", str(arguments.bert_vocabulary), "--num-workers", str(num_workers)]
        command += ["--document", "line" if ".jsonl" not in corpus.name else "file"]
        measured = measure(command, {"TOKENIZERS_PARALLELISM": "false", "TF_CPP_MIN_LOG_LEVEL": "3"})
    print(f"{run}, {corpus.name}, {num_workers} workers: {measured}", file=sys.stderr)
    return measured


def run_bert_script(
    repository: Path, corpus: Path, megabytes: float, arguments: argparse.Namespace
) -> tuple[Measured, float]:
    """BERT's own script on so many MB of the corpus, each document once (its default is ten times), and the MB it got.

    It is of TensorFlow 1: its copy imports `tensorflow.compat.v1` in place of `tensorflow`, and is else as it was.
    """
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as folder:
        for name in ("create_pretraining_data.py", "tokenization.py"):
            source = (repository / name).read_text(encoding="utf-8")
            (Path(folder) / name).write_text(
                source.replace("import tensorflow as tf", "import tensorflow.compat.v1 as tf"), encoding="utf-8"
            )
        size = 0
        with open(f"{folder}/in.txt", "w", encoding="utf-8") as stream:
            for text in texts(corpus):
                size += len(text.encode())
                if size > megabytes * 1e6:
                    size -= len(text.encode())
                    break
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


def texts(corpus: Path) -> Iterator[str]:
    open_ = gzip.open if corpus.suffix == ".gz" else open
    with open_(corpus, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"] if ".jsonl" in corpus.name else line.rstrip("\n")


def text_megabytes(corpus: Path) -> float:
    return sum(len(text.encode()) for text in texts(corpus)) / 1e6


def write_grown(corpus: Path, target: Path, megabytes: float) -> None:
    """Repeats the corpus up to so many MB of text, each time with a tenth of the lines dropped and the others in another
    order, in documents of other names, in files of about 8 MB."""
    documents = [text.splitlines() for text in texts(corpus)]
    dice = random.Random(0)
    size = number = 0
    target.mkdir()
    stream = None
    while size < megabytes * 1e6:
        for lines in documents:
            if stream is None or stream.tell() > 8e6:
                if stream:
                    stream.close()
                stream = open(target / f"part-{number:08d}.jsonl", "wb")  # noqa: SIM115
            kept = [line for line in lines if dice.random() > 0.1]
            dice.shuffle(kept)
            text = "\n".join([*kept, f"copy {number:x}"])
            line = json.dumps({"id": f"{number}", "text": text}, ensure_ascii=False).encode() + b"\n"
            stream.write(line)
            size += len(text.encode())
            number += 1
            if size >= megabytes * 1e6:
                break
    if stream:
        stream.close()


def compare(arguments: argparse.Namespace) -> list[str]:
    corpus = next(path for path in arguments.corpus if ".jsonl" in path.name)
    size = text_megabytes(corpus)
    rows = []
    ours = our_run("clozekit", corpus, arguments)
    rows.append(("Clozekit", size, ours))
    try:
        importlib.metadata.version("datasets")
    except importlib.metadata.PackageNotFoundError:
        print("Hugging Face datasets is left out: it is not installed (the extra `bench`)", file=sys.stderr)
    else:
        rows.append(
            ("Hugging Face `datasets` + `tokenizers`, texts grouped", size, our_run("hugging-face", corpus, arguments))
        )
    if arguments.bert_repository:
        measured, part = run_bert_script(arguments.bert_repository, corpus, arguments.bert_megabytes, arguments)
        rows.append((f"BERT's create_pretraining_data.py, on {part:.1f} MB, each document once", part, measured))
    lines = [f"### JSON lines to rows of {LENGTH}, {corpus.name.split('.')[0]}, {size:.1f} MB of text, no cleaning", ""]
    lines += ["| | CPU-seconds a MB | times Clozekit's | start and imports, CPU-seconds | peak memory, MB |"]
    lines += ["|---|---:|---:|---:|---:|"]
    base = ours.work_seconds / size
    for name, megabytes, measured in rows:
        rate = measured.work_seconds / megabytes
        lines.append(
            f"| {name} | {rate:.3f} | {rate / base:.1f} | {measured.start_seconds:.1f} | {measured.peak_mb:,.0f} |"
        )
    return lines


def fill_rates(arguments: argparse.Namespace) -> list[str]:
    lines = [f"### Fill rate at length {LENGTH}", "", "| | tokens | rows | fill rate |", "|---|---:|---:|---:|"]
    for corpus in arguments.corpus:
        said = our_run("clozekit", corpus, arguments).said
        lines.append(f"| {corpus.name.split('.')[0]} | {said['tokens']:,} | {said['rows']:,} | {said['fill']:.4f} |")
    return lines


def growth(arguments: argparse.Namespace) -> list[str]:
    corpus = next(path for path in arguments.corpus if ".jsonl" in path.name)
    lines = [
        f"### Growth: {arguments.num_workers} worker processes, the corpus repeated with its lines dropped and shuffled",
        "",
        "| MB of text | CPU-seconds a MB | start, CPU-seconds | peak of a worker, MB | peak of the runner's process, MB |",
        "|---:|---:|---:|---:|---:|",
    ]
    start = 0.0
    for megabytes in (0.01, *arguments.sizes):
        with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as folder:
            write_grown(corpus, Path(folder) / "in.jsonl", megabytes)
            # Small ones three times: what the machine does besides weighs more on them.
            runs = [
                our_run("clozekit", Path(folder) / "in.jsonl", arguments, arguments.num_workers)
                for _ in range(3 if megabytes < 100 else 1)
            ]
            measured = sorted(runs, key=lambda run: run.cpu_seconds)[len(runs) // 2]
        if megabytes == 0.01:
            # Starting the runner, its processes, and the imports in each: what a build of nearly nothing takes.
            start = measured.cpu_seconds
            continue
        rate = (measured.cpu_seconds - start) / megabytes
        lines.append(
            f"| {megabytes:,.0f} | {rate:.3f} | {start:.1f} | {measured.worker_peak_mb:,.0f} | {measured.peak_mb:,.0f} |"
        )
        print(lines[-1], file=sys.stderr)
    return lines


def growth_in_process(arguments: argparse.Namespace) -> list[str]:
    """The same without other processes: their start weighs nothing, so this says best how the CPU time grows."""
    corpus = next(path for path in arguments.corpus if ".jsonl" in path.name)
    lines = ["### Growth in one process", ""]
    lines += ["| MB of text | CPU-seconds a MB | start, CPU-seconds | peak, MB |", "|---:|---:|---:|---:|"]
    start = 0.0
    for megabytes in (0.01, *arguments.sizes):
        with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=arguments.scratch) as folder:
            write_grown(corpus, Path(folder) / "in.jsonl", megabytes)
            measured = our_run("clozekit", Path(folder) / "in.jsonl", arguments)
        if megabytes == 0.01:
            # Imports, the graph, compiled code loaded, the report: what a build of nearly nothing takes.
            start = measured.cpu_seconds
            continue
        rate = (measured.cpu_seconds - start) / megabytes
        lines.append(f"| {megabytes:,.0f} | {rate:.3f} | {start:.1f} | {measured.peak_mb:,.0f} |")
        print(lines[-1], file=sys.stderr)
    return lines


def render(sections: list[list[str]]) -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    lines = [
        "## The pipeline",
        "",
        "CPU-seconds of all processes of a run; a peak is resident memory.",
        "",
    ]
    lines += [f"- machine: {names[0] if names else ''}, {os.cpu_count()} cores; Python {platform.python_version()}"]
    lines += [f"- versions: {', '.join(versions)}", f"- date: {datetime.date.today().isoformat()}"]
    for section in sections:
        lines += ["", *section]
    return "\n".join(lines) + "\n"


def put_into(path: Path, section: str) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{section}{END}{after or chr(10)}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", action="append", type=Path, required=True, help=".jsonl[.gz] or text; repeatable")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased")
    parser.add_argument("--bert-repository", type=Path, help="a checkout of google-research/bert")
    parser.add_argument("--bert-megabytes", type=float, default=2.0, help="of the corpus, for BERT's script")
    parser.add_argument("--num-workers", type=int, default=2, help="worker processes of the growth runs")
    parser.add_argument("--sizes", type=float, nargs="*", default=[50, 200, 1000], help="MB of text of the growth runs")
    sections = ["compare", "fill", "growth", "growth-in-process"]
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    parser.add_argument("--scratch", help="a folder with room for the largest corpus four times")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--document", default="file", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-") as folder:
        if arguments.run:
            return run_child(arguments)
        # A tokenizer directory holds its vocabulary under this name.
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_bytes(arguments.bert_vocabulary.read_bytes())
        arguments.bert_vocabulary = vocabulary
        makers = {"compare": compare, "fill": fill_rates, "growth": growth, "growth-in-process": growth_in_process}
        section = render([makers[name](arguments) for name in arguments.only])
    print(section)
    if arguments.into:
        put_into(arguments.into, section)


if __name__ == "__main__":
    main()
