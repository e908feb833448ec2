"""Streams for tests: documents as a source delivers them, panes of them, and what a chain holds in the end."""

import hashlib
from collections import Counter
from pathlib import Path

from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.dataset.records import records_to_rows
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.settings.corpus_settings import CorpusSettings, DeduplicateSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.pipelines.settings.stream_settings import WindowSettings
from clozekit.pipelines.streaming.open_stream import Stream, begin_stream
from clozekit.pipelines.streaming.pane import Pane, PaneHead
from clozekit.pipelines.streaming.process_deliveries import DeliverySteps
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.tokenizers.tokenizer import Tokenizer

WINDOW = 600
ROWS = PrepareSettings(sequence_length=32, validation_rate=0.2)
EXACT = CorpusSettings(deduplicate=DeduplicateSettings("exact"))


def document(number: int, text: str | None = None, time: int = 0) -> Delivered:
    """time: seconds of the event."""
    # Digits are no words of the vocabulary.
    name = str(number).translate(str.maketrans("0123456789", "aebdofhilt"))
    words = (
        text if text is not None else f"the old cat {name} sat on the mat and the dog {name} ran under the tree . " * 2
    )
    return Delivered(f"source/{number}", 1000 * time + number % 1000, Document(f"doc-{number}", words))


def begin(
    directory: Path | str,
    tokenizer: Tokenizer,
    corpus: CorpusSettings = EXACT,
    rows: PrepareSettings = ROWS,
    windows: WindowSettings | None = None,
) -> Stream:
    return begin_stream(str(directory), windows or WindowSettings(WINDOW), corpus, rows, tokenizer)


def pane(
    tokenizer: Tokenizer,
    delivered: list[Delivered],
    window: int = 0,
    watermark: int | None = None,
    corpus: CorpusSettings = EXACT,
    rows: PrepareSettings = ROWS,
    timing: str = "on_time",
) -> Pane:
    """window: its number since 1970; watermark: its end by default."""
    head = PaneHead(
        window * WINDOW, (window + 1) * WINDOW, timing, (window + 1) * WINDOW if watermark is None else watermark
    )
    return Pane(head, DeliverySteps(corpus, rows, tokenizer).process(delivered))


def chain_bytes(directory: Path | str) -> dict[str, str]:
    """Name -> sha256 of every file that the fragments of a stream name, and of the fragments."""
    root = Path(directory)
    names = [path.relative_to(root).as_posix() for path in sorted(root.glob("windows/*.json"))]
    for fragment in read_chain(str(root)):
        names += [*([fragment.frozen.name] if fragment.frozen else []), *(file.name for file in fragment.side.values())]
        names += [shard.name for shard in fragment.shards()]
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}


def total_counts(directory: Path | str) -> Counter[str]:
    """Of what came in: a compacted fragment counts it once more."""
    counts: Counter[str] = Counter()
    for fragment in read_chain(str(directory)):
        if fragment.frozen is not None:
            counts.update(fragment.counts)
    return counts


def rows_of(directory: Path | str, split: str) -> list[list[int]]:
    """The ids of all rows of a split, fragment by fragment."""
    rows: list[list[int]] = []
    for fragment in read_chain(str(directory)):
        for shard in fragment.splits[split].shards if split in fragment.splits else ():
            path = Path(directory) / shard.name
            with path.open("rb") as stream:
                batch = records_to_rows(list(read_records(stream, str(path))))
            assert [row[0] for row in batch.column("row_id").to_pylist()] == [
                *range(shard.first_row, shard.first_row + shard.rows)
            ]
            rows += batch.column("token_ids").to_pylist()
    return rows
