"""The manifest is not believed: what is edited, forged or of another kind is refused in one line by every verb that reads."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.manifest import (
    MANIFEST_FILE,
    OWN_SHA256,
    Manifest,
    ShardInfo,
    SplitInfo,
    dataset_fingerprint,
    manifest_from_json,
    read_manifest,
)
from clozekit.pipelines.rows.write_shards import finished_shard, part_to_json
from clozekit.pipelines.verify import verify_dataset
from clozekit.tokenizers.common.errors import InputError


@pytest.fixture(scope="module")
def written(dataset: tuple[str, Manifest]) -> dict[str, Any]:
    """The JSON of a manifest."""
    return dict(json.loads(Path(dataset[0], MANIFEST_FILE).read_text(encoding="utf-8")))


def forged(fields: dict[str, Any]) -> str:
    """The JSON as a version before the hash over all of it would have written it, its other hash in order."""
    fields.pop(OWN_SHA256, None)
    try:
        infos = {
            name: SplitInfo(tuple(ShardInfo(**shard) for shard in split["shards"]), (), 1)
            for name, split in fields["splits"].items()
        }
        fields["dataset_sha256"] = dataset_fingerprint(infos)
    except (TypeError, KeyError, AttributeError, ValueError):
        pass
    return json.dumps(fields)


def at(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        *way, last = path
        for key in way:
            fields = fields[key]
        fields[last] = value

    return change


def without(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        *way, last = path
        for key in way:
            fields = fields[key]
        del fields[last]

    return change


def doubled(fields: dict[str, Any]) -> None:
    shards = fields["splits"]["train"]["shards"]
    shards[1] = {**shards[0], "first_row": shards[1]["first_row"]}


def doubled_bytes(fields: dict[str, Any]) -> None:
    shards = fields["splits"]["train"]["shards"]
    shards[1]["sha256"] = shards[0]["sha256"]


SHARD = ("splits", "train", "shards", 0)
CASES = [
    ("rows as a text", at(*SHARD, "rows", value="5"), "rows of .* must be a whole number, it is '5'"),
    ("rows null", at(*SHARD, "rows", value=None), "rows of .* must be a whole number, it is None"),
    ("rows true", at(*SHARD, "rows", value=True), "must be a whole number, it is True"),
    ("rows below 0", at(*SHARD, "rows", value=-1), "rows of .* must be from 1 to"),
    ("rows without end", at(*SHARD, "rows", value=10**15), "rows of .* must be from 1 to"),
    ("rows 0", at(*SHARD, "rows", value=0), "rows of .* must be from 1 to"),
    ("tokens", at(*SHARD, "tokens", value=10**9), "tokens of .* must be from"),
    ("pieces", at(*SHARD, "pieces", value=0), "pieces of .* must be from"),
    ("num_bytes", at(*SHARD, "num_bytes", value=0), "num_bytes of .* must be from 1 to"),
    ("first_row", at(*SHARD, "first_row", value=3), "the first row of .* must be 0, it is 3"),
    ("sha256", at(*SHARD, "sha256", value="x"), "must be 64 hexadecimal digits, it is 'x'"),
    ("name above", at(*SHARD, "name", value="../outside.tfrecord"), "must be that of a file in the dataset's folder"),
    ("name absolute", at(*SHARD, "name", value="/dev/zero"), "must be that of a file in the dataset's folder"),
    ("name with NUL", at(*SHARD, "name", value="a\0b"), "must be that of a file in the dataset's folder"),
    ("name a URL", at(*SHARD, "name", value="gs:"), "must be that of a file in the dataset's folder"),
    ("name empty", at(*SHARD, "name", value=""), "must be that of a file in the dataset's folder"),
    ("name a number", at(*SHARD, "name", value=5), "must be that of a file in the dataset's folder"),
    ("one shard twice", doubled, "is named twice"),
    ("one shard under two names", doubled_bytes, "another one has the bytes of"),
    ("name with a wildcard", at(*SHARD, "name", value="t*"), "must be that of a file in the dataset's folder"),
    ("name of half a letter", at(*SHARD, "name", value="\ud800"), "must hold text, it has half of a character"),
    ("bytes without end", at(*SHARD, "num_bytes", value=10**12), "num_bytes of .* must be from 1 to"),
    ("tokens beside the histogram", at(*SHARD, "tokens", value=5000), "tokens, as its length_histogram says"),
    ("a role of two lines", at("tokenizer", "special_token_ids", "a\nb", value=0), "must have roles such as pad_token"),
    ("a class of two lines", at("tokenizer", "class_name", value="a\nb"), "must be the name of a class"),
    ("a key of two lines", at("a\nb", value=1), "it must not hold"),
    ("a count of two lines", at("counts", "a\nb", value=-1), "must be from 0 to"),
    ("no shards", at("splits", "train", "shards", value=[]), "train must have shards"),
    ("a shard that is none", at(*SHARD, value=[]), "a shard of train must be an object"),
    ("no splits", at("splits", value={}), "splits must be some of train, validation"),
    ("another split", at("splits", "test", value={}), "splits must be some of train, validation"),
    ("sequence_length 0", at("sequence_length", value=0), "sequence_length must be from 1 to"),
    ("sequence_length a text", at("sequence_length", value="32"), "sequence_length must be a whole number"),
    ("sequence_length -1", at("sequence_length", value=-1), "sequence_length must be from 1 to"),
    ("another sequence_length", at("sequence_length", value=64), "sequence_length must be that of the settings, 32"),
    ("bin width", at("splits", "train", "histogram_bin_width", value=2), "histogram_bin_width of train must be 1"),
    ("histogram", at("splits", "train", "length_histogram", value=[1]), "must have 32 counts"),
    ("histogram of other sums", at("splits", "train", "length_histogram", 3, value=10**6), "must count its"),
    ("vocabulary_size", at("tokenizer", "vocabulary_size", value=10**12), "vocabulary_size must be from 1 to"),
    ("special ids missing", at("tokenizer", "special_token_ids", value={}), "special_token_ids must hold"),
    ("special id outside", at("tokenizer", "special_token_ids", "pad_token", value=70), "must be from 0 to 69"),
    ("mask is pad", at("tokenizer", "special_token_ids", "mask_token", value=0), "must have a mask_token of its own"),
    ("settings a list", at("settings", value=[]), "settings must be groups of settings"),
    ("pairs", at("settings", "prepare", "pairs", value="both"), "must be none, next or order"),
    ("counts", at("counts", "documents_in", value=-1), "counts.documents_in must be from 0"),
    ("inputs", at("inputs", value=[1]), "inputs must be a list of files"),
    ("environment", at("environment", value=None), "environment must be names and versions"),
    ("a key missing", without("counts"), "it must hold counts"),
    ("a key of another", at("more", value=1), r"it must not hold \['more'\]"),
    ("schema_version", at("schema_version", value=True), "schema_version must be a whole number"),
    ("schema_version of later", at("schema_version", value=2), "the manifest schema must be 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_forged_manifest_is_refused_in_one_line(
    change: Callable[[dict[str, Any]], None], message: str, written: dict[str, Any]
) -> None:
    fields = json.loads(json.dumps(written))
    change(fields)
    with pytest.raises(InputError, match=message) as caught:
        manifest_from_json(forged(fields), "d/manifest.json")
    assert "d/manifest.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "5", '{"a": ', "[" * 100_000, '{"splits": ' * 50_000, "\xff"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="d/manifest.json must"):
        manifest_from_json(text, "d/manifest.json")


def test_every_change_of_a_manifest_is_noticed(written: dict[str, Any]) -> None:
    fields = json.loads(json.dumps(written))
    fields["counts"]["documents_in"] += 1
    with pytest.raises(InputError, match="manifest_sha256 .* must match all of it"):
        manifest_from_json(json.dumps(fields), "d/manifest.json")


def test_a_manifest_of_an_earlier_version_is_read(written: dict[str, Any], dataset: tuple[str, Manifest]) -> None:
    assert manifest_from_json(forged(json.loads(json.dumps(written))), "d") == dataset[1] == read_manifest(dataset[0])


@pytest.fixture
def copy(dataset: tuple[str, Manifest], tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset[0], tmp_path / "copy"))


def train_config(copy: Path) -> str:
    config = {
        "dataset": str(copy),
        "directory": str(copy.parent / "run"),
        "model": {"num_layers": 1, "num_heads": 1, "hidden_dim": 4, "intermediate_dim": 4},
        "train": {"steps": 1, "global_batch_size": 2, "xla": False},
    }
    path = copy.parent / "train.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


def swap_specials(fields: dict[str, Any]) -> None:
    special = fields["tokenizer"]["special_token_ids"]
    special["pad_token"], special["unk_token"] = special["unk_token"], special["pad_token"]


def fewer_pieces(fields: dict[str, Any]) -> None:
    fields["tokenizer"]["vocabulary_size"] -= 1


def claim_pairs(fields: dict[str, Any]) -> None:
    fields["settings"]["prepare"]["pairs"] = "next"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_specials, "the manifest must say what the tokenizer is"),
        (fewer_pieces, "the manifest must say what the tokenizer is"),
        (claim_pairs, "rows have segments where they are sentence pairs"),
    ],
)
def test_training_does_not_believe_a_forged_manifest(
    change: Callable[[dict[str, Any]], None],
    message: str,
    copy: Path,
    written: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = json.loads(json.dumps(written))
    change(fields)
    (copy / MANIFEST_FILE).write_text(forged(fields), encoding="utf-8")
    assert main(["train", train_config(copy)]) == 2
    assert message in capsys.readouterr().err
    assert verify_dataset(str(copy)).problems != ()


def test_training_compares_every_byte_of_the_shards_unless_told_not_to(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = read_manifest(str(copy)).splits["train"].shards
    path = copy / shards[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["train", train_config(copy)]) == 2
    assert f"{path} is damaged (found " in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "endless link"])
def test_a_shard_that_is_no_file_is_named_and_not_read(
    kind: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = read_manifest(str(copy)).splits["train"].shards[0].name
    (copy / name).unlink()
    if kind == "device":
        (copy / name).symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(copy / name)
    elif kind == "folder":
        (copy / name).mkdir()
    else:
        (copy / name).symlink_to(copy / name)
    assert [problem.source for problem in verify_dataset(str(copy)).problems] == [name]
    assert main(["export", str(copy), str(tmp_path / "out"), "--to", "parquet"]) == 2
    assert main(["train", train_config(copy)]) == 2
    assert capsys.readouterr().err.count(name) >= 2


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "long"])
def test_a_manifest_that_is_no_file_is_not_read(kind: str, copy: Path) -> None:
    path = copy / MANIFEST_FILE
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with open(path, "wb") as stream:
            stream.truncate(2**40)
    with pytest.raises(InputError, match="a manifest must be a file of at most"):
        read_manifest(str(copy))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"rows": 3', '"rows": 4'),
        lambda text: text[:-5],
        lambda text: '{"name": ' * 50_000,
        lambda text: "[]",
        lambda text: '{"name": "../x"}',
    ],
)
def test_a_damaged_part_counts_for_nothing(damage: Callable[[str], str], tmp_path: Path) -> None:
    content = b"x" * 200
    info = ShardInfo("a.tfrecord", 3, 9, 3, 200, hashlib.sha256(content).hexdigest(), 0)
    (tmp_path / info.name).write_bytes(content)
    part = tmp_path / "part.json"
    part.write_bytes(part_to_json(info))
    assert finished_shard(str(tmp_path), str(part)) == info
    part.write_text(damage(part.read_text(encoding="utf-8")), encoding="utf-8")
    assert finished_shard(str(tmp_path), str(part)) is None
