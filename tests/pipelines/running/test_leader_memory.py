"""What the process that leads a local run holds of each document between two stages: places, neither texts nor numbers."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from apache_beam.runners.portability.fn_api_runner import execution

from clozekit.pipelines import select_documents
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.reading import read_documents
from clozekit.pipelines.running import gathered_blocks
from clozekit.pipelines.settings.corpus_settings import CorpusSettings, DeduplicateSettings, FilterSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings

WORDS = [f"{first}{second}" for first in "bcdfgklmnprst" for second in ("an", "el", "ist", "orn", "um")]
# Of all stages together. With one in five a duplicate 29 are places, pairs and labels. When numbers and lines were sent
# themselves, it was 963 with near duplicates and 177 with exact ones.
# A GB of text has about 236,000 documents, so 40 are 0.01 GB, of which Beam holds a few copies.
MAX_BYTES_A_DOCUMENT = 40


def write_documents(path: Path, num_documents: int) -> None:
    """Documents of 40 words; of ten one is the copy of another, and one nearly so."""
    dice = random.Random(0)
    texts: list[str] = []
    for number in range(num_documents):
        words = dice.choices(WORDS, k=40)
        if number % 10 == 8:
            words = texts[-1].split()
        if number % 10 == 9:
            words = [*texts[-3].split(), "indeed"]
        texts.append(" ".join(words))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that the runner was given to keep, piece by piece."""
    found: list[int] = []

    def counted(append: Callable[..., None]) -> Callable[..., None]:
        def count(self: object, elements: bytes) -> None:
            found.append(len(elements))
            append(self, elements)

        return count

    for buffer in (execution.GroupingBuffer, execution.ListBuffer, execution.WindowGroupingBuffer):
        monkeypatch.setattr(buffer, "append", counted(buffer.append))
    return found


@pytest.mark.parametrize("kind", ["none", "exact", "near"])
def test_what_the_runner_keeps_hardly_grows_with_the_documents(
    kind: str, held: list[int], tokenizer_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many batches and parts as a large corpus has.
    monkeypatch.setattr(read_documents, "MAX_BATCH_DOCUMENTS", 250)
    monkeypatch.setattr(select_documents, "PART_BYTES", 200_000)
    corpus = CorpusSettings(
        filter=FilterSettings(rules={"num_words": (5, None)}), deduplicate=DeduplicateSettings(kind)
    )
    totals = []
    for num_documents in (2_000, 6_000):
        path = tmp_path / f"{num_documents}.jsonl"
        write_documents(path, num_documents)
        held.clear()
        manifest, _ = prepare(
            ReadSettings((str(path),)),
            PrepareSettings(sequence_length=64, validation_rate=0.1, group_size=1_000),
            tokenizer_directory,
            str(tmp_path / f"out-{num_documents}"),
            corpus=corpus,
        )
        assert manifest.counts["documents_in"] == num_documents
        assert (manifest.counts.get("duplicates_exact", 0) >= num_documents // 20) == (kind != "none")
        assert (manifest.counts.get("duplicates_near", 0) >= num_documents // 20) == (kind == "near")
        totals.append(sum(held))
    assert (totals[1] - totals[0]) / 4_000 < MAX_BYTES_A_DOCUMENT


def test_chunks_are_gathered_by_key_and_nothing_is_left_of_a_bundle_that_failed() -> None:
    store = gathered_blocks.BlockStore()
    step = gathered_blocks.GathersBlocks(store, [gathered_blocks.lists_kind(10, "side")], most_bytes=40)
    step.setup()
    step.start_bundle()
    assert list(step._gather("lost", [0], "side")) == []
    step.start_bundle()
    assert list(step._gather("a", [1], "side")) == []
    assert list(step._gather("b", [2], "side")) == []
    assert list(step._gather("a", [3, 4], "side")) == []
    full = [(output.tag, output.value) for output in step._gather("a", [5], "side")]
    rest = [(output.tag, output.value.value) for output in step.finish_bundle()]
    taken = [(tag, key, gathered_blocks.pickle.loads(store.take(block))) for tag, (key, block) in [*full, *rest]]
    assert sorted(taken) == [("side", "a", [1, 3, 4]), ("side", "a", [5]), ("side", "b", [2])]
    assert list(step.finish_bundle()) == []
