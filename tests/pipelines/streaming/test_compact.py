"""Compacting: the dataset of a chain is the one that `prepare` makes of its documents, byte for byte."""

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import pytest
from streams import ROWS, WINDOW, begin, document, pane

from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare, prepare_lengths
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.settings.compact_settings import CompactSettings
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.stream_settings import WindowSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.compact import compact
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.verify import verify_dataset
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

NUM_WINDOWS = 5
CORPUS = CorpusSettings(
    CleanSettings(unicode=True),
    FilterSettings(rules={"num_words": (3.0, None)}),
    deduplicate=DeduplicateSettings("exact"),
)


def documents_of(window: int) -> list[Delivered]:
    """Some of each kind: new ones, the same again, known texts, almost known ones, too short ones, dead ones."""
    first = 40 * window
    new = [document(number) for number in range(first, first + 40)]
    again = [document(number) for number in range(max(0, first - 10), first)]
    # The smaller id comes later: a stream keeps the first, a build the smallest.
    twins = [Delivered(f"twin/{window}", 0, new[0].record._replace(key=f"a-{window}"))]  # type: ignore[union-attr]
    near = [document(1000 + window, new[1].record.text + " it")]  # type: ignore[union-attr]
    short = [document(2000 + window, "too short")]
    dead = [Delivered(f"source/{window}", 0, DeadLetter(f"source/{window}", window, "line 1", "read", "bad", ""))]
    return [*new, *again, *twins, *near, *short, *dead]


@pytest.fixture(scope="module")
def stream(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    opened = begin(
        tmp_path_factory.mktemp("stream") / "stream", tokenizer, CORPUS, windows=WindowSettings(WINDOW, WINDOW)
    )
    committer = Committer(opened)
    for window in range(NUM_WINDOWS):
        committer.commit(freeze(opened, pane(tokenizer, documents_of(window), window, corpus=CORPUS)).name)
    late = [document(number) for number in range(5000, 5003)]
    committer.commit(freeze(opened, pane(tokenizer, late, -9, corpus=CORPUS, timing="late")).name)
    return opened.directory


@pytest.fixture
def corpus_file(tmp_path: Path) -> ReadSettings:
    """Every document of the stream, once."""
    return written(tmp_path, range(NUM_WINDOWS))


def written(folder: Path, windows: range) -> ReadSettings:
    lines: dict[str, str] = {}
    for window in windows:
        for delivered in documents_of(window):
            if isinstance(delivered.record, DeadLetter):
                lines[f"dead {window}"] = "{no JSON"
            elif delivered.record.key is not None:
                lines[delivered.record.key] = json.dumps({"id": delivered.record.key, "text": delivered.record.text})
    path = folder / "documents.jsonl"
    path.write_text("\n".join(lines.values()) + "\n")
    return ReadSettings((str(path),), max_bad_rate=1.0)


def left_lines(directory: Path, folder: str) -> int:
    contents = [
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in (directory / folder).iterdir()
    ]
    return sum(content.count(b"\n") for content in contents)


@pytest.mark.parametrize("kind", ["exact", "near", "none"])
def test_a_compacted_chain_is_the_batch_build(
    stream: str, corpus_file: ReadSettings, tokenizer_directory: str, tmp_path: Path, kind: str
) -> None:
    corpus = dataclasses.replace(CORPUS, deduplicate=DeduplicateSettings(kind))
    expected, _ = prepare(corpus_file, ROWS, tokenizer_directory, str(tmp_path / "batch"), corpus=corpus)
    ((manifest, built),) = compact(stream, str(tmp_path / "compacted"), CompactSettings(deduplicate=kind)).values()
    assert built
    assert manifest.dataset_sha256 == expected.dataset_sha256
    assert manifest.counts == expected.counts
    for folder in ("rejects", "deadletter", *(["duplicates"] if kind != "none" else [])):
        assert left_lines(tmp_path / "compacted", folder) == left_lines(tmp_path / "batch", folder) > 0
    assert verify_dataset(str(tmp_path / "compacted")).problems == ()
    assert (tmp_path / "compacted" / "report.html").exists()
    ((_, built),) = compact(stream, str(tmp_path / "compacted"), CompactSettings(deduplicate=kind)).values()
    assert not built


@pytest.mark.slow
def test_other_lengths_are_made_in_one_pass(
    stream: str, corpus_file: ReadSettings, tokenizer_directory: str, tmp_path: Path
) -> None:
    expected = prepare_lengths(corpus_file, ROWS, [16, 64], tokenizer_directory, str(tmp_path / "batch"), corpus=CORPUS)
    made = compact(stream, str(tmp_path / "compacted"), CompactSettings(sequence_length=(16, 64)))
    assert [Path(directory).name for directory in made] == ["16", "64"]

    def sums(results: dict[str, tuple[Manifest, bool]]) -> list[str]:
        return [manifest.dataset_sha256 for manifest, _ in results.values()]

    assert sums(made) == sums(expected)


def test_the_last_windows_are_those_documents_that_came_first_with_them(
    stream: str, tokenizer_directory: str, tmp_path: Path
) -> None:
    # Window 4 delivers ten of window 3 again: they are not its own.
    reading = written(tmp_path, range(NUM_WINDOWS - 1, NUM_WINDOWS))
    lines = Path(reading.inputs[0]).read_text().splitlines()
    own = [line for line in lines if not any(f'"doc-{number}"' in line for number in range(150, 160))]
    Path(reading.inputs[0]).write_text("\n".join(own) + "\n")
    expected, _ = prepare(reading, ROWS, tokenizer_directory, str(tmp_path / "batch"), corpus=CORPUS)
    ((last, _),) = compact(stream, str(tmp_path / "last"), CompactSettings(last=1)).values()
    assert (last.dataset_sha256, last.counts) == (expected.dataset_sha256, expected.counts)
    since = CompactSettings(since="1970-01-01T00:40:00", until="1970-01-01T00:50")
    ((same, _),) = compact(stream, str(tmp_path / "since"), since).values()
    assert same.dataset_sha256 == expected.dataset_sha256
    with pytest.raises(InputError, match="must have at least one window"):
        compact(stream, str(tmp_path / "none"), CompactSettings(since="1999-01-01"))
    assert not (tmp_path / "none").exists()


def test_a_changed_pane_is_refused(stream: str, tmp_path: Path) -> None:
    shutil.copytree(stream, tmp_path / "copy")
    frozen = sorted((tmp_path / "copy" / "frozen").iterdir())[0]
    frozen.write_bytes(frozen.read_bytes()[:-8] + b"12345678")
    with pytest.raises(InputError, match="a frozen pane must be what its fragment says"):
        compact(str(tmp_path / "copy"), str(tmp_path / "dataset"))
