"""CPU seconds of `clozekit export` and `verify` beside pyarrow's, TFDS's and TensorFlow's own writers and readers.

    python tests/benchmarks/export_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt --into BENCHMARKS.md

Each run is a process of its own, in turns. Two sizes of one corpus: their difference is free of start and imports. What was
written is compared by its values, and the benchmark fails when a peer's differ. The peers stand in export_peers.py.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corpora import write_grown
from processes import Measured, measure
from tables import header, put_into

PEERS = Path(__file__).parent / "export_peers.py"
PACKAGES = ["apache-beam", "tfx-bsl", "tensorflow", "tensorflow-datasets", "pyarrow", "numpy"]
# MB of text. What takes a millisecond a row is measured on fewer: of MANY it would take an hour.
FEW, SOME, MANY = 2, 10, 200


@dataclass(frozen=True)
class Work:
    """What a table row is about: the command's words, its peers by their titles, and MB of text for those."""

    title: str
    words: tuple[str, ...]
    peers: dict[str, str]
    peer_sizes: tuple[int, int] = (SOME, MANY)


WORKS = {
    "parquet": Work(
        "`export --to parquet`", ("export", "--to", "parquet"), {"tf.data, pyarrow's ParquetWriter": "parquet"}
    ),
    "padded": Work(
        "`export --to padded`",
        ("export", "--to", "padded"),
        {"tf.data, tf.train.Example, TFRecordWriter": "padded"},
        (FEW, SOME),
    ),
    "tfds": Work(
        "`export --to tfds`",
        ("export", "--to", "tfds"),
        {
            "tf.data, TFDS's SequentialWriter": "tfds-sequential",
            "tf.data, TFDS's GeneratorBasedBuilder": "tfds-builder",
        },
        (FEW, SOME),
    ),
    "verify": Work("`verify`", ("verify",), {"tf.data, parse_example, which checks less": "read"}),
    "inspect": Work("`inspect`", ("inspect",), {}),
}


def prepared(scratch: Path, corpus: Path, vocabulary: Path, megabytes: int) -> Path:
    """A dataset of so many MB of the corpus, made once: rows of 512 in one split, shards of the usual size."""
    dataset = scratch / f"export-dataset-{megabytes}"
    if not (dataset / "manifest.json").exists():
        texts = scratch / f"export-texts-{megabytes}"
        if not texts.exists():
            write_grown(corpus, texts, megabytes)
        command = [sys.executable, "-m", "clozekit.deploy.cli", "prepare", "--input", f"{texts}/*.jsonl"]
        command += ["--tokenizer", str(vocabulary.parent), "--output", str(dataset), "--validation-rate", "0", "--json"]
        measure(command)
    return dataset


def ours(work: Work, dataset: Path, out: Path) -> Measured:
    target = [str(out)] if work.words[0] == "export" else []
    name, *options = work.words
    command = [sys.executable, "-m", "clozekit.deploy.cli", name, str(dataset), *target, *options, "--json"]
    return measure(command, {"TF_CPP_MIN_LOG_LEVEL": "3"})


def theirs(peer: str, dataset: Path, out: Path) -> Measured:
    out.mkdir()
    return measure([sys.executable, str(PEERS), peer, str(dataset), str(out)])


def content(measured: Measured, out: Path) -> str:
    """What came out, by its values: of files the hash of all rows, else the rows and tokens that were counted."""
    files = sorted(path for path in out.rglob("*") if ".parquet" in path.name or ".tfrecord" in path.name)
    if not files:
        return json.dumps({name: measured.said.get(name) for name in ("num_rows", "num_tokens")})
    hashed = hashlib.sha256()
    for name, values in parquet_values(files) if ".parquet" in files[0].name else example_values(files):
        hashed.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return hashed.hexdigest()


def parquet_values(files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    import pyarrow.parquet

    for file in files:
        table = pyarrow.parquet.read_table(file).combine_chunks()
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                if pyarrow.types.is_list(chunk.type):
                    yield name, chunk.value_lengths().to_numpy()
                    chunk = chunk.flatten()
                yield name, chunk.to_numpy()


def example_values(files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    import tensorflow as tf

    first = tf.train.Example.FromString(next(iter(tf.data.TFRecordDataset(str(files[0])))).numpy())
    features = {name: tf.io.RaggedFeature(tf.int64) for name in sorted(first.features.feature)}
    records = tf.data.TFRecordDataset(list(map(str, files))).batch(1024)
    for batch in records.map(lambda some: tf.io.parse_example(some, features)):
        for name, values in batch.items():
            yield name, values.row_splits.numpy()
            yield name, values.flat_values.numpy()


@dataclass
class Runs:
    """What the turns of one program took, by MB of text."""

    turns: dict[int, list[Measured]]

    def whole(self) -> float:
        return statistics.median(one.cpu_seconds for one in self.turns[SOME])

    def milliseconds_a_megabyte(self) -> list[float]:
        """Of each turn: the larger size less the smaller, by their difference; of peers without the start, which they say."""
        small, large = sorted(self.turns)
        pairs = zip(self.turns[large], self.turns[small], strict=True)
        return [1000 * (more.work_seconds - less.work_seconds) / (large - small) for more, less in pairs]

    def peak_mb(self) -> float:
        return max(one.peak_mb for one in self.turns[max(self.turns)])


def measured_work(work: Work, datasets: dict[int, Path], num_turns: int) -> dict[str, Runs]:
    """Our runs, as "Clozekit", and those of each peer; raises RuntimeError when their outputs differ."""
    own_sizes = (SOME, MANY)
    programs = [("Clozekit", size) for size in own_sizes]
    programs += [(title, size) for title in work.peers for size in work.peer_sizes]
    runs = {title: Runs({}) for title in ("Clozekit", *work.peers)}
    contents: dict[int, dict[str, str]] = {}
    for turn in range(num_turns):
        # The other way round every second time: whoever comes first has no advantage.
        for title, size in programs if turn % 2 == 0 else reversed(programs):
            with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-", dir=datasets[size].parent) as folder:
                out = Path(folder) / "out"
                peer = work.peers.get(title)
                measured = ours(work, datasets[size], out) if peer is None else theirs(peer, datasets[size], out)
                runs[title].turns.setdefault(size, []).append(measured)
                if turn == 0:
                    contents.setdefault(size, {})[title] = content(measured, out)
            shown = f"{measured.cpu_seconds:.2f} CPU-s, {measured.peak_mb:.0f} MB"
            print(f"{work.title}, {title}, {size} MB: {shown}", file=sys.stderr, flush=True)
    for size, found in contents.items():
        if len(set(found.values())) > 1:
            raise RuntimeError(f"{work.title} of {size} MB: outputs must be equal, they are {found}")
    return runs


def table_rows(work: Work, runs: dict[str, Runs]) -> Iterator[str]:
    own = runs["Clozekit"]
    yield f"| {work.title} | Clozekit | {cells(own)} | | |"
    for title in work.peers:
        peer = runs[title]
        whole = peer.whole() / own.whole()
        times = statistics.median(peer.milliseconds_a_megabyte()) / statistics.median(own.milliseconds_a_megabyte())
        yield f"| | {title} | {cells(peer)} | {shown_times(whole)} | {shown_times(times)} |"


def cells(runs: Runs) -> str:
    each = runs.milliseconds_a_megabyte()
    marginal = f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})"
    return f"{runs.whole():.2f} | {marginal} | {runs.peak_mb():,.0f}"


def shown_times(times: float) -> str:
    # Below 1 Clozekit takes more.
    return f"{times:.1f}" if times >= 1 else f"**{times:.2f}, lost**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="JSON lines with the field text, .gz or not")
    parser.add_argument(
        "--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased, alone in its folder"
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(WORKS), help="default: all")
    parser.add_argument("--scratch", type=Path, help="where datasets are kept for a next run; default: nowhere")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clozekit-benchmark-") as folder:
        scratch = arguments.scratch or Path(folder)
        scratch.mkdir(exist_ok=True)
        vocabulary = Path(folder, "tokenizer", "vocab.txt")
        vocabulary.parent.mkdir()
        vocabulary.write_bytes(arguments.bert_vocabulary.read_bytes())
        datasets = {size: prepared(scratch, arguments.corpus, vocabulary, size) for size in (FEW, SOME, MANY)}
        lines = [
            "## Exporting and verifying",
            "",
            f"`make bench-export`. Rows of 512 BERT tokens; each run a process of its own, {arguments.turns} turns. CPU seconds of the",
            f"whole process at {SOME} MB of text, and what a MB more costs, without start and imports, from {SOME} to {MANY} MB (median and",
            f"range). What builds an Example a row in Python is measured from {FEW} to {SOME} MB: it takes too long on more. The peak is that",
            "of the larger size. All read the same shards and write the same values, which the benchmark compares. The peers read by",
            "tf.data, in batches of 1,024 rows, and don't check the hashes, counts, ids and lengths that `verify` and `export` check.",
            "Times: what the peer takes, divided by what Clozekit takes.",
            "",
            *header(PACKAGES),
            "",
            f"| | | CPU-s, {SOME} MB | CPU-ms a MB more | peak MB | times, whole | times, a MB more |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        for name in arguments.only or WORKS:
            lines += table_rows(WORKS[name], measured_work(WORKS[name], datasets, arguments.turns))
    section = "\n".join(lines) + "\n"
    print(section)
    if arguments.into:
        put_into(arguments.into, "export", section)


if __name__ == "__main__":
    main()
