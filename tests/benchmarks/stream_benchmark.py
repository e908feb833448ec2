"""What a window of a stream costs beside a `prepare` of the same documents, what one core sustains, and memory over many windows.

Both in one process that has done it once before, so that start-up is left out; the shards of both are the same bytes, or
nothing is printed. CPU seconds of the process, medians of turns.

    python tests/benchmarks/stream_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt
"""

import argparse
import gzip
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tables import header, put_into

from clozekit.pipelines.dataset.chain import read_head
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.settings.stream_settings import WatchSettings, WindowSettings
from clozekit.pipelines.streaming.follow_source import Follower
from clozekit.pipelines.streaming.open_stream import begin_stream
from clozekit.pipelines.streaming.process_deliveries import DeliverySteps
from clozekit.pipelines.streaming.sources.folder_source import FolderSource
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

ROWS = PrepareSettings(sequence_length=128, validation_rate=0.05)
CORPUS = CorpusSettings(
    CleanSettings(unicode=True, boilerplate_lines=True),
    FilterSettings(rule_sets=("gopher",)),
    deduplicate=DeduplicateSettings("exact"),
)
ONCE = WatchSettings(poll_seconds=0, settle_seconds=0, until_idle=True)
# All of it is one window.
WINDOWS = WindowSettings(window_seconds=8_640_000)


def parts_of(path: Path, size: int, count: int) -> list[list[str]]:
    """So many lists of documents, none of them twice."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        texts = list(dict.fromkeys(json.loads(line)["text"] for line in stream))
    parts = []
    for number in range(count):
        # When the corpus is through, its documents come again with a number.
        wanted = range(number * size, (number + 1) * size)
        parts.append([f"{texts[n % len(texts)]}{f' {n}' if n >= len(texts) else ''}" for n in wanted])
    return parts


def write_part(path: Path, number: int, texts: Sequence[str]) -> ReadSettings:
    path.mkdir()
    lines = (json.dumps({"id": f"{number}-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
    (path / f"{number:06d}.jsonl").write_text("".join(lines), encoding="utf-8")
    return ReadSettings((str(path),))


def cost_of_prepare(reading: ReadSettings, tokenizer: Path, output: Path) -> tuple[float, dict[str, list[str]]]:
    begun = time.process_time()
    manifest, _ = prepare(reading, ROWS, str(tokenizer), str(output), corpus=CORPUS)
    spent = time.process_time() - begun
    return spent, {name: [shard.sha256 for shard in split.shards] for name, split in manifest.splits.items()}


def cost_of_window(reading: ReadSettings, tokenizer: BertTokenizer, output: Path) -> tuple[float, dict[str, list[str]]]:
    begun = time.process_time()
    stream = begin_stream(str(output), WINDOWS, CORPUS, ROWS, tokenizer)
    steps = DeliverySteps(CORPUS, ROWS, tokenizer)
    (fragment,) = Follower(stream, FolderSource(reading, ONCE, (str(output),)), steps, ONCE).run().fragments
    spent = time.process_time() - begun
    return spent, {name: [shard.sha256 for shard in split.shards] for name, split in fragment.splits.items()}


def compare(size: int, turns: int, corpus: Path, vocabulary: Path, folder: Path) -> str:
    tokenizer = BertTokenizer(str(vocabulary), lowercase=True)
    tokenizer.save(folder / "tokenizer")
    ours, theirs = [], []
    for number, texts in enumerate(parts_of(corpus, size, turns + 1)):
        reading = write_part(folder / f"in-{number}", number, texts)
        mine, shards = cost_of_window(reading, tokenizer, folder / f"stream-{number}")
        other, expected = cost_of_prepare(reading, folder / "tokenizer", folder / f"dataset-{number}")
        if shards != expected:
            sys.exit(f"the window of {size} documents and the dataset of them must have the same shards, they have not")
        if number:
            ours.append(mine)
            theirs.append(other)
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    mine, other = statistics.median(ours), statistics.median(theirs)
    return f"| {size:,} | {mine:.2f} | {other:.2f} | {ratio:.2f} | {size / mine:,.0f} |"


def memory(windows: int, corpus: Path, vocabulary: Path, folder: Path) -> str:
    """Peak resident memory after a tenth of the windows and after all of them, one committed after the other."""
    tokenizer = BertTokenizer(str(vocabulary), lowercase=True)
    steps = DeliverySteps(CORPUS, ROWS, tokenizer)
    stream = begin_stream(str(folder / "stream"), WINDOWS, CORPUS, ROWS, tokenizer)
    incoming = folder / "in"
    incoming.mkdir()
    early, begun = 0.0, time.process_time()
    follower = Follower(stream, FolderSource(ReadSettings((str(incoming),)), ONCE, (stream.directory,)), steps, ONCE)
    for number, texts in enumerate(parts_of(corpus, 20, windows)):
        lines = (json.dumps({"id": f"{number}-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
        (incoming / f"{number:06d}.jsonl").write_text("".join(lines), encoding="utf-8")
        follower.run()
        follower.progress.fragments.clear()
        (incoming / f"{number:06d}.jsonl").unlink()
        if number == windows // 10:
            early = peak_mb()
    spent = time.process_time() - begun
    head = read_head(stream.directory, stream.genesis)
    if head is None or head.number + 1 != windows:
        sys.exit(f"there must be {windows} fragments, there are {0 if head is None else head.number + 1}")
    return f"| {windows:,} | {early:,.0f} | {peak_mb():,.0f} | {1000 * spent / windows:,.0f} |"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--bert-vocabulary", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--into", type=Path, default=None)
    arguments = parser.parse_args()
    lines = [
        "## Streams",
        "",
        "`make bench-stream`. CPU seconds of a window of documents through `clozekit stream` beside a `prepare` of the same ones, cleaned",
        "(Unicode, boilerplate lines, Gopher's rules, exact duplicates), to the same shards, byte for byte; both in one process that did",
        f"it once before. Medians of {arguments.turns} turns.",
        "",
        *header(("apache-beam", "numpy", "pyarrow", "tfx-bsl")),
        "",
        "| documents | window | prepare | ratio | documents a CPU second |",
        "|---:|---:|---:|---:|---:|",
    ]
    for size in (200, 2000):
        with tempfile.TemporaryDirectory() as folder:
            lines.append(compare(size, arguments.turns, arguments.corpus, arguments.bert_vocabulary, Path(folder)))
    lines += [
        "",
        "Peak resident memory over many windows of 20 documents in one process, MB, and CPU milliseconds a window:",
        "",
        "| windows | after a tenth of them | after all | ms a window |",
        "|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines.append(memory(arguments.windows, arguments.corpus, arguments.bert_vocabulary, Path(folder)))
    text = "\n".join(lines)
    print(text)
    if arguments.into is not None:
        put_into(arguments.into, "streams", text)


if __name__ == "__main__":
    main()
