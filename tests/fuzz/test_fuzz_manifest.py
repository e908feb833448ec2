"""Damaged manifests and shards: refused in one line, or what was written, and never read beyond what they are."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from fuzzing import damaged_bytes, damaged_json, dice_of_cases

from clozekit.pipelines.dataset.manifest import MANIFEST_FILE, OWN_SHA256, Manifest, manifest_from_json
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.verify import verify_dataset
from clozekit.tokenizers.common.errors import InputError


def one_line(error: InputError) -> None:
    assert "\n" not in str(error)


def test_fuzz_bytes_of_a_manifest(dataset: tuple[str, Manifest]) -> None:
    content = Path(dataset[0], MANIFEST_FILE).read_bytes()
    for _, dice in dice_of_cases(2000):
        text = damaged_bytes(content, dice).decode("utf-8", errors="replace")
        try:
            # What differs in the text alone, such as white space, is the same manifest.
            assert manifest_from_json(text, "manifest.json") == dataset[1]
        except InputError as error:
            one_line(error)


def test_fuzz_values_of_a_forged_manifest(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    """Without the hash over all of it: refused, or `verify` sees it, or it is in what nobody computes with."""
    directory = Path(shutil.copytree(dataset[0], tmp_path / "copy"))
    written = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
    del written[OWN_SHA256]
    for _, dice in dice_of_cases(1500):
        fields = damaged_json(written, dice)
        try:
            manifest = manifest_from_json(json.dumps(fields), "manifest.json")
        except InputError as error:
            one_line(error)
            continue
        if counted(manifest) == counted(dataset[1]):
            continue
        (directory / MANIFEST_FILE).write_text(json.dumps(fields), encoding="utf-8")
        assert verify_dataset(str(directory)).problems != (), fields


def counted(manifest: Manifest) -> object:
    """What a reader computes with; the rest (versions, paths, settings) is for people."""
    tokenizer = copy.copy(manifest.tokenizer.__dict__)
    counts = {name: number for name, number in manifest.counts.items() if number}
    return manifest.sequence_length, tokenizer, manifest.splits, manifest.has_pairs, counts


def test_fuzz_bytes_of_a_shard(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    shard = dataset[1].splits["train"].shards[0]
    content = Path(dataset[0], shard.name).read_bytes()
    with open(Path(dataset[0], shard.name), "rb") as stream:
        records = list(read_records(stream, shard.name))
    path = tmp_path / shard.name
    for _, dice in dice_of_cases(400):
        path.write_bytes(damaged := damaged_bytes(content, dice))
        with open(path, "rb") as stream:
            found: list[bytes] = []
            try:
                for record in read_records(stream, shard.name):
                    found.append(record)
            except InputError as error:
                one_line(error)
        # Each record has a checksum: those before the damage are what they were, unless whole ones were cut or doubled.
        assert set(found) <= set(records) or damaged == content


@pytest.mark.parametrize("length", [2**36, 2**63, 2**64 - 1])
def test_a_record_of_a_length_beyond_everything_is_refused(length: int, tmp_path: Path) -> None:
    from clozekit.pipelines.dataset import tfrecord

    header = length.to_bytes(8, "little")
    path = tmp_path / "shard"
    path.write_bytes(header + tfrecord._masked_crc(header).to_bytes(4, "little") + b"x" * 100)
    with open(path, "rb") as stream, pytest.raises(InputError, match="its content is cut short"):
        list(read_records(stream, "shard"))
