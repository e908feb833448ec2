"""Exporting: readers that know nothing of Clozekit find every row, and a failed export leaves nothing."""

import json
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tfx_bsl.public import tfxio

from clozekit.deploy.cli.main import main
from clozekit.model.reading.row_records import RecordFormat, parse_rows
from clozekit.pipelines.dataset.list_columns import list_column
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.row_rules import checked_blocks
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.export import export_dataset
from clozekit.pipelines.export_formats import FORMATS, exported_name, is_exported, reading_line
from clozekit.pipelines.settings.export_settings import EXPORT_FORMATS
from clozekit.tokenizers.common.errors import InputError


def all_records(paths: list[str]) -> tf.Tensor:
    return tf.constant(list(tf.data.TFRecordDataset(paths).as_numpy_iterator()))


def shards_of(dataset: tuple[str, Manifest], split: str) -> list[str]:
    directory, manifest = dataset
    return [f"{directory}/{shard.name}" for shard in manifest.splits[split].shards]


def expected_rows(dataset: tuple[str, Manifest], split: str) -> dict[str, np.ndarray]:
    """The rows as the trainer's reader parses and derives them."""
    parsed = parse_rows(all_records(shards_of(dataset, split)), RecordFormat(32, 0))
    return {name: values.numpy() for name, values in parsed.items()}


def ragged_rows(dataset: tuple[str, Manifest], split: str) -> list[dict[str, list[int]]]:
    features = {name: tf.io.RaggedFeature(tf.int64) for name in ("token_ids", "document_lengths", "row_id")}
    parsed = tf.io.parse_example(all_records(shards_of(dataset, split)), features)
    return [dict(zip(parsed, row, strict=True)) for row in zip(*(v.to_list() for v in parsed.values()), strict=True)]


def test_padded_rows_are_read_in_the_one_line_that_is_printed(
    dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "padded"
    assert main(["export", dataset[0], str(target), "--to", "padded"]) == 0
    line = capsys.readouterr().out.splitlines()[-1].strip()
    for split in ("train", "validation"):
        records = all_records(sorted(map(str, target.glob(f"{split}-*.tfrecord"))))
        parsed = eval(line, {"tf": tf, "records": records})
        expected = expected_rows(dataset, split)
        assert set(parsed) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(parsed[name].numpy(), values, err_msg=name)
    described = json.loads((target / "_export.json").read_text())
    assert described["from_dataset_sha256"] == dataset[1].dataset_sha256
    assert described["read_with"] == line


def test_parquet_holds_every_row(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    target = tmp_path / "parquet"
    export_dataset(dataset[0], str(target), "parquet")
    for split in ("train", "validation"):
        files = sorted(target.glob(f"{split}-*.parquet"))
        assert [file.name for file in files] == [
            f"{split}-{i:05d}-of-{len(files):05d}.parquet" for i in range(len(files))
        ]
        rows = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
        assert [{**row, "row_id": [row["row_id"]]} for row in rows] == ragged_rows(dataset, split)
    some = eval(
        reading_line("parquet", str(target), dataset[1]).replace("DIRECTORY", str(target)), {"pyarrow": pyarrow}
    )
    assert some.num_rows == sum(min(100, split.rows) for split in dataset[1].splits.values())


@pytest.mark.parametrize("to", ["padded", "parquet"])
def test_the_files_are_the_same_however_many_rows_are_taken_at_once(
    to: str, dataset: tuple[str, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pa.default_memory_pool().backend_name
    contents = []
    for block_rows in (1024, 5, 1):
        monkeypatch.setattr("clozekit.pipelines.dataset.row_rules.BLOCK_ROWS", block_rows)
        target = tmp_path / str(block_rows)
        export_dataset(dataset[0], str(target), to)
        contents.append({path.name: path.read_bytes() for path in target.iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert pa.default_memory_pool().backend_name == pool


def test_a_parquet_file_of_many_pages_is_the_same_in_blocks(dataset: tuple[str, Manifest]) -> None:
    # Some pages end elsewhere where columns come in pieces (seen with these numbers); toy shards have one page.
    dice = np.random.default_rng(0)
    lengths = dice.integers(100, 600, 10_000)
    columns = {
        "token_ids": list_column(dice.integers(0, 30_000, lengths.sum()), lengths),
        "document_lengths": list_column(lengths, np.ones_like(lengths)),
        "row_id": list_column(np.arange(10_000), np.ones_like(lengths)),
    }
    rows = pa.RecordBatch.from_pydict(columns)
    convert = FORMATS["parquet"].convert
    assert convert is not None
    whole = convert([rows], dataset[1])
    assert convert([rows.slice(start, 333) for start in range(0, 10_000, 333)], dataset[1]) == whole


def test_a_record_that_is_no_row_is_named_by_its_number_in_the_shard(
    dataset: tuple[str, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clozekit.pipelines.dataset.row_rules.BLOCK_ROWS", 2)
    directory, manifest = dataset
    with open(shards_of(dataset, "train")[0], "rb") as stream:
        records = list(read_records(stream, "s"))
    blocks = checked_blocks(iter([*records[:5], b"\xff\xff", *records[6:]]), 0, manifest, "s")
    with pytest.raises(InputError, match=r"s: record 5 must be a tf\.train\.Example"):
        list(blocks)
    with pytest.raises(InputError, match=r"s: row 4: its row_id is not its number in the split"):
        list(checked_blocks(iter([*records[:4], *records[5:]]), 0, manifest, "s"))


@pytest.mark.slow
def test_tensorflow_datasets_opens_the_folder(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    target = tmp_path / "tfds"
    export_dataset(dataset[0], str(target), "tfds", num_workers=2)
    builder = tfds.builder_from_directory(str(target))
    for name, split in dataset[1].splits.items():
        info = builder.info.splits[name]
        assert (info.num_examples, list(info.shard_lengths)) == (split.rows, [shard.rows for shard in split.shards])
        read_config = tfds.ReadConfig(interleave_cycle_length=1)
        rows = [
            {feature: np.atleast_1d(value).tolist() for feature, value in row.items()}
            for row in tfds.as_numpy(builder.as_dataset(split=name, read_config=read_config, shuffle_files=False))
        ]
        assert rows == ragged_rows(dataset, name)
        source = b"".join(Path(path).read_bytes() for path in shards_of(dataset, name))
        assert b"".join(path.read_bytes() for path in sorted(target.glob(f"clozekit-{name}*"))) == source


def test_tfxio_reads_the_shards_as_they_are(dataset: tuple[str, Manifest]) -> None:
    source = tfxio.TFExampleRecord(f"{dataset[0]}/train-*.tfrecord")
    options = tfxio.RecordBatchesOptions(batch_size=64, num_epochs=1, shuffle=False)
    rows = [row for batch in source.RecordBatches(options) for row in batch.to_pylist()]
    assert sorted(rows, key=lambda row: row["row_id"]) == ragged_rows(dataset, "train")


def test_a_damaged_or_missing_shard_leaves_nothing(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset[0], tmp_path / "copy"))
    shard = copy / dataset[1].splits["train"].shards[1].name
    content = shard.read_bytes()
    shard.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    with pytest.raises(InputError, match=f"a shard must be what the manifest says, {shard} is damaged"):
        export_dataset(str(copy), str(tmp_path / "out"), "parquet")
    shard.unlink()
    with pytest.raises(InputError, match=f"every shard of the manifest must be there, {shard} is missing"):
        export_dataset(str(copy), str(tmp_path / "out"), "parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_a_folder_that_holds_something_is_refused(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    export_dataset(dataset[0], target, "parquet")
    with pytest.raises(InputError, match="holds one; pass --overwrite to replace it"):
        export_dataset(dataset[0], target, "padded")
    export_dataset(dataset[0], target, "padded", overwrite=True)
    assert sorted(path.suffix for path in Path(target).iterdir()) == [*[".json"] * 2, *[".tfrecord"] * 4]
    # Never the dataset itself, nor anything else that no export wrote.
    with pytest.raises(InputError, match="an export goes into a folder of its own, .* holds what Clozekit did not "):
        export_dataset(dataset[0], dataset[0], "padded", overwrite=True)
    with pytest.raises(InputError, match="must be one of padded, parquet, tfds, got 'csv'"):
        export_dataset(dataset[0], target, "csv")


def test_an_export_into_an_object_store(dataset: tuple[str, Manifest]) -> None:
    store = fsspec.filesystem("memory")
    try:
        export_dataset(dataset[0], "memory://bucket/out", "tfds")
        names = sorted(name.split("/")[-1] for name in store.ls("/bucket/out", detail=False))
        assert {"_export.json", "dataset_info.json", "features.json"} < set(names)
        assert len(names) == 8
        with pytest.raises(InputError, match="holds one"):
            export_dataset(dataset[0], "memory://bucket/out", "tfds")
    finally:
        store.rm("/bucket", recursive=True)


def test_the_command_offers_every_format_and_each_knows_its_files() -> None:
    assert tuple(FORMATS) == EXPORT_FORMATS
    names = {to: exported_name(to, "train", 3, 12) for to in FORMATS}
    assert names == {
        "padded": "train-00003-of-00012.tfrecord",
        "parquet": "train-00003-of-00012.parquet",
        "tfds": "clozekit-train.tfrecord-00003-of-00012",
    }
    ours = [*names.values(), "_export.json", "features.json", "dataset_info.json"]
    foreign = ["train-00003-of-00012.csv", "test-00003-of-00012.parquet", "x" + names["tfds"], "notes.json"]
    assert [is_exported(name) for name in [*ours, *foreign]] == [True] * len(ours) + [False] * len(foreign)
