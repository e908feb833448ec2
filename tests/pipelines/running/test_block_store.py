"""Blocks between stages: what is put is taken, from files by any process or along with the element."""

import json
import pickle
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from long_variants import FULL

from clozekit.pipelines import build_output
from clozekit.pipelines.output_files import claim
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.running.block_store import BlockStore, BlockWriter
from clozekit.pipelines.settings.corpus_settings import CorpusSettings, DeduplicateSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.owned_files import remove_files


@pytest.mark.parametrize("in_files", [True, False])
def test_blocks_come_back_as_they_were(in_files: bool, tmp_path: Path) -> None:
    store = BlockStore(str(tmp_path / "with a space") if in_files else None)
    blocks = [b"one", b"", bytes(range(256)) * 1000]
    writers = [BlockWriter(store), BlockWriter(store)]
    elements = [writers[number % 2].put(block) for number, block in enumerate(blocks)]
    # Before the writers are closed, by whoever got the settings.
    elsewhere = pickle.loads(pickle.dumps(store))
    assert [elsewhere.take(element) for element in elements] == blocks
    assert (max(map(len, elements)) < 100) == in_files
    for writer in writers:
        writer.close()


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="disk is given back on Linux alone")


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


@needs_linux
def test_a_block_gives_its_disk_back_when_it_is_taken(tmp_path: Path) -> None:
    store, large = BlockStore(str(tmp_path)), 1_000_001
    writer = BlockWriter(store)
    blocks = [bytes([number]) * size for number, size in enumerate((large, 3, large, large, 5), start=1)]
    elements = [writer.put(block) for block in blocks]
    assert on_disk(tmp_path) >= 3 * large
    store.pass_over(elements[3])
    assert [store.take(elements[number]) for number in (0, 1)] == blocks[:2]
    assert large <= on_disk(tmp_path) < large + 50_000
    # Neither neighbours nor what came before in the file are touched.
    assert [store.take(elements[number]) for number in (2, 4)] == [blocks[2], blocks[4]]
    assert on_disk(tmp_path) < 50_000
    with pytest.raises(RuntimeError, match="was taken before"):
        store.take(elements[0])
    writer.close()


@needs_linux
@pytest.mark.parametrize("num_workers", [1, 2] if FULL else [1])
def test_a_build_holds_no_stage_until_its_end(
    num_workers: int, tokenizer_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(0)
    words = [f"w{number}" for number in range(5000)]
    texts = [" ".join(dice.choices(words, k=800)) for _ in range(600)]
    lines = [json.dumps({"id": f"{number}", "text": text}) for number, text in enumerate([*texts, *texts[:20]])]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    written, left = [], []

    def remove(folder: str, names: Iterable[str]) -> None:
        for name in names:
            if name.startswith("_blocks"):
                found = (Path(folder) / name).stat()
                written.append(found.st_size)
                left.append(found.st_blocks * 512)
        remove_files(folder, names)

    monkeypatch.setattr(build_output, "remove_files", remove)
    corpus = CorpusSettings(deduplicate=DeduplicateSettings("near"))
    reading = ReadSettings((str(tmp_path / "a.jsonl"),))
    manifest, _ = prepare(
        reading, PrepareSettings(), tokenizer_directory, str(tmp_path / "out"), num_workers=num_workers, corpus=corpus
    )
    assert manifest.counts["duplicates_exact"] == 20
    # Texts, shingles, pieces twice, rows twice; what is left are blocks too small to be worth it.
    assert sum(written) > 4 * sum(map(len, texts)) > 50 * sum(left)


@pytest.mark.parametrize("text", ['{"text": "the cat sat"}\n', "{cut\n"])
def test_no_block_is_left_behind(text: str, tokenizer_directory: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    # Of a run that was killed, by the list beside it.
    claim(str(out), [], ["0" * 16])
    left = out / f"_blocks-{'0' * 16}" / ("1" * 32)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    try:
        prepare(ReadSettings((str(tmp_path / "a.jsonl"),)), PrepareSettings(), tokenizer_directory, str(out))
    except InputError:
        assert "cut" in text
    assert [path.name for path in out.iterdir() if path.name.startswith("_blocks")] == []
