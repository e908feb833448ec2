"""Paths that travel compressed: the same by number, whatever they hold; and reading by chunks of work."""

import pickle
from pathlib import Path

import pytest

from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.reading import read_documents
from clozekit.pipelines.running.packed import PackedPaths, pack, unpack
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings

PATHS = [f"gs://bucket/docs/part-{number:05d} {'é' * (number % 3)}.jsonl" for number in range(3000)]


@pytest.mark.parametrize("paths", [[], [""], ["", ""], ["a", "", "b\udcff"], PATHS, PATHS[:1024], PATHS[:1025]])
def test_packed_paths_are_those_that_were_packed(paths: list[str]) -> None:
    packed = pickle.loads(pickle.dumps(PackedPaths(paths)))
    assert len(packed) == len(paths)
    assert list(packed) == paths
    assert packed[1:3] == paths[1:3] and packed[::-1] == paths[::-1]
    if paths:
        assert packed[-1] == paths[-1]
    for number in (len(paths), -len(paths) - 1):
        with pytest.raises(IndexError):
            packed[number]


def test_they_are_an_eighth_of_what_they_were_at_most() -> None:
    assert len(pickle.dumps(PackedPaths(PATHS))) * 8 < len(pickle.dumps(PATHS))
    assert unpack(pack(PATHS)) == PATHS


def test_work_in_chunks_gives_the_same_dataset(
    tmp_path: Path, corpus: Path, tokenizer_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(5):
        (tmp_path / f"{number}.jsonl").write_text("".join(lines[number::5]), encoding="utf-8")
    monkeypatch.setattr(read_documents, "MAX_BATCH_CHARACTERS", 1)
    reading, options = ReadSettings((f"{tmp_path}/*.jsonl",)), PrepareSettings(sequence_length=32)
    plain, _ = prepare(reading, options, tokenizer_directory, str(tmp_path / "plain"))
    monkeypatch.setattr(read_documents, "GROUPS_A_CHUNK", 2)
    chunked, _ = prepare(reading, options, tokenizer_directory, str(tmp_path / "chunked"))
    assert (chunked.dataset_sha256, chunked.counts) == (plain.dataset_sha256, plain.counts)
    assert plain.counts["documents_in"] == len(lines)
