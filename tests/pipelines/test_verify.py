"""Verifying: a whole dataset passes, every kind of damage is named with its shard, here and in an object store."""

import dataclasses
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.manifest import (
    MANIFEST_FILE,
    OWN_SHA256,
    Manifest,
    SplitInfo,
    dataset_fingerprint,
    manifest_to_json,
    read_manifest,
)
from clozekit.pipelines.dataset.records import records_to_rows, rows_to_records
from clozekit.pipelines.dataset.tfrecord import frame_records, read_records
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.text_files.open_input import open_plain
from clozekit.pipelines.verify import verify_dataset
from clozekit.tokenizers.common.errors import InputError

Row = dict[str, list[int]]


@pytest.fixture
def copy(dataset: tuple[str, Manifest], tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset[0], tmp_path / "copy"))


def rewrite_shard(directory: Path, index: int, change: Callable[[list[Row]], Any]) -> str:
    """Changes the rows of a train shard and signs them in the manifest as if the build had made them so."""
    manifest = read_manifest(str(directory))
    train = manifest.splits["train"]
    shard = train.shards[index]
    with open(directory / shard.name, "rb") as stream:
        rows = records_to_rows(list(read_records(stream, shard.name))).to_pylist()
    change(rows)
    columns = (pa.array([row[name] for row in rows]) for name in ("token_ids", "document_lengths"))
    content = frame_records(rows_to_records(*columns, first_row=rows[0]["row_id"][0]))
    (directory / shard.name).write_bytes(content)
    signed = dataclasses.replace(shard, num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    shards = (*train.shards[:index], signed, *train.shards[index + 1 :])
    splits = {**manifest.splits, "train": SplitInfo(shards, train.length_histogram, train.histogram_bin_width)}
    changed = dataclasses.replace(manifest, splits=splits, dataset_sha256=dataset_fingerprint(splits))
    (directory / MANIFEST_FILE).write_text(manifest_to_json(changed), encoding="utf-8")
    return shard.name


def problems(directory: Path) -> list[str]:
    return [str(problem) for problem in verify_dataset(str(directory)).problems]


def test_a_whole_dataset_passes(dataset: tuple[str, Manifest], capsys: pytest.CaptureFixture[str]) -> None:
    directory, manifest = dataset
    rows = sum(split.rows for split in manifest.splits.values())
    tokens = sum(split.tokens for split in manifest.splits.values())
    assert main(["verify", directory]) == 0
    assert capsys.readouterr().out == f"whole: 4 shards, {rows} rows, {tokens:,} tokens\n"


def test_one_flipped_byte_names_the_shard_and_the_exit_status_is_2(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = read_manifest(str(copy)).splits["train"].shards[1].name
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert main(["verify", str(copy)]) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{name}: its sha256 must be ")
    assert lines[1].startswith(f"{name}: a shard must be whole")
    assert err == (
        f"clozekit verify: a dataset must be what its manifest says, {copy} has 2 problems (above); copy it again or run"
        " `clozekit prepare --overwrite`\n"
    )


def test_missing_and_cut_shards_are_named(copy: Path) -> None:
    shards = read_manifest(str(copy)).splits["train"].shards
    (copy / shards[0].name).unlink()
    content = (copy / shards[2].name).read_bytes()
    (copy / shards[2].name).write_bytes(content[:-5])
    found = problems(copy)
    assert found[0] == f"{shards[0].name}: it is missing"
    assert found[2] == f"{shards[2].name}: it must hold {len(content):,} bytes, it holds {len(content) - 5:,}"
    assert "its content is cut short" in found[3]
    assert len(found) == 4


def unknown_id(rows: list[Row]) -> None:
    rows[0]["token_ids"][1] = 10_000


def wrong_lengths(rows: list[Row]) -> None:
    rows[1]["document_lengths"][0] += 1


def no_end_token(rows: list[Row]) -> None:
    rows[2]["token_ids"][-1] = rows[2]["token_ids"][1]


def lost_row(rows: list[Row]) -> None:
    del rows[-1]


def too_long(rows: list[Row]) -> None:
    rows[0]["token_ids"] += [5] * 32
    rows[0]["document_lengths"][-1] += 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown_id, r"row 0: an id is not in the vocabulary of 70 pieces"),
        (wrong_lengths, r"row 1: the lengths of its documents do not add up to its tokens"),
        (
            no_end_token,
            r"row 2: a document .or its first segment. does not begin with the start token and end with the end token",
        ),
        (lost_row, r"it must hold \d+ rows, it holds \d+"),
        (too_long, r"row 0: it holds more than 32 tokens"),
    ],
)
def test_rows_that_break_a_rule_are_named_even_with_their_hash_in_order(
    change: Callable[[list[Row]], None], message: str, copy: Path
) -> None:
    name = rewrite_shard(copy, 0, change)
    assert re.match(f"{name}: {message}", problems(copy)[0])


def test_row_numbers_go_through_all_shards(copy: Path) -> None:
    manifest = read_manifest(str(copy))
    name = rewrite_shard(copy, 1, lambda rows: [row["row_id"].__setitem__(0, row["row_id"][0] + 7) for row in rows])
    first = manifest.splits["train"].shards[1].first_row
    rows = manifest.splits["train"].shards[1].rows
    assert problems(copy) == [
        f"{name}: row {first}: its row_id is not its number in the split (and {rows - 1} more rows)"
    ]


def test_a_record_that_is_no_row_is_named(copy: Path) -> None:
    name = read_manifest(str(copy)).splits["train"].shards[0].name
    with open(copy / name, "rb") as stream:
        records = list(read_records(stream, name))
    (copy / name).write_bytes(frame_records([*records[:3], b"\xff\xff", *records[4:]]))
    assert any(problem.startswith(f"{name}: record 3 must be a tf.train.Example") for problem in problems(copy))


def test_each_shard_is_read_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_bytes: dict[str, int] = {}

    @contextmanager
    def counting(path: str) -> Iterator[Any]:
        with open_plain(path) as stream:

            class Counting(io.RawIOBase):
                def read(self, size: int = -1) -> bytes:
                    part = stream.read(size)
                    num_bytes[path] = num_bytes.get(path, 0) + len(part)
                    return part

            yield Counting()

    monkeypatch.setattr("clozekit.pipelines.verify.open_plain", counting)
    monkeypatch.setattr("clozekit.pipelines.verify._PART_BYTES", 64)
    shards = [shard for split in read_manifest(str(copy)).splits.values() for shard in split.shards]
    # One is damaged at its first record: what follows is read for its hash all the same.
    content = bytearray((copy / shards[0].name).read_bytes())
    content[20] ^= 1
    (copy / shards[0].name).write_bytes(content)
    assert len(problems(copy)) == 2
    assert num_bytes == {str(copy / shard.name): shard.num_bytes for shard in shards}


def test_another_tokenizer_and_another_histogram_are_named(copy: Path) -> None:
    vocabulary = next(copy.glob("tokenizer/**/vocabulary.txt"))
    vocabulary.write_text(vocabulary.read_text().replace("happy", "sad"))
    fields = json.loads((copy / MANIFEST_FILE).read_text())
    histogram = fields["splits"]["train"]["length_histogram"]
    # As many documents and tokens as before.
    histogram[3], histogram[5], histogram[7] = histogram[3] - 1, histogram[5] + 2, histogram[7] - 1
    del fields[OWN_SHA256]
    (copy / MANIFEST_FILE).write_text(json.dumps(fields))
    found = problems(copy)
    assert len(found) == 2
    assert found[0].startswith("tokenizer: its sha256 must be ")
    assert found[1] == "train: the lengths of its documents are not those of the manifest's histogram"


def test_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold manifest\.json"):
        verify_dataset(str(tmp_path))


def test_a_dataset_is_built_and_verified_in_an_object_store(
    corpus: Path, tokenizer_directory: str, dataset: tuple[str, Manifest]
) -> None:
    store = fsspec.filesystem("memory")
    options = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=3)
    try:
        manifest, _ = prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, "memory://bucket/dataset")
        assert manifest.dataset_sha256 == dataset[1].dataset_sha256
        assert verify_dataset("memory://bucket/dataset").problems == ()
        name = manifest.splits["validation"].shards[0].name
        content = store.cat_file(f"/bucket/dataset/{name}")
        store.pipe_file(f"/bucket/dataset/{name}", content[:-1] + bytes([content[-1] ^ 1]))
        assert {problem.source for problem in verify_dataset("memory://bucket/dataset").problems} == {name}
    finally:
        store.rm("/bucket", recursive=True)
