"""Blocks between stages: what is put is taken, from files by any process or along with the element."""

import pickle
from pathlib import Path

import pytest

from clozekit.pipelines.output_files import claim
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.running.block_store import BlockStore, BlockWriter
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError


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
