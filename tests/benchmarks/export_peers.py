"""What the peers of the export benchmark do with a dataset: read its TFRecords by tf.data, write them as their own docs show.

    python tests/benchmarks/export_peers.py NAME DATASET OUT

They know nothing of Clozekit. Each prints a line of JSON: `start`, the CPU-seconds until everything is imported, and what it met.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 1024
LENGTH = 512
NAMES = ("document_lengths", "row_id", "token_ids")


def shards(dataset: str) -> list[Path]:
    return sorted(Path(dataset).glob("*.tfrecord"))


def batches(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """The rows as ragged tensors, BATCH at a time; tf.data checks the checksums of each record."""
    import tensorflow as tf

    features = {name: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64) for name in NAMES}
    records = tf.data.TFRecordDataset([str(path) for path in paths]).batch(BATCH)
    yield from records.map(lambda some: tf.io.parse_example(some, features))


def read(dataset: str, out: str) -> dict[str, int]:
    """For `verify`: everything read, its checksums checked, parsed. No hash of a shard, no rule of a row is looked at."""
    num_rows = num_tokens = 0
    for batch in batches(shards(dataset)):
        num_rows += int(batch["row_id"].nrows())
        num_tokens += int(batch["token_ids"].flat_values.shape[0])
    return {"num_rows": num_rows, "num_tokens": num_tokens}


def parquet(dataset: str, out: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    for path in shards(dataset):
        tables = []
        for batch in batches([path]):
            columns = {"row_id": pa.array(batch["row_id"].flat_values.numpy())}
            for name in ("token_ids", "document_lengths"):
                offsets, values = (
                    part.numpy().astype(np.int32) for part in (batch[name].row_splits, batch[name].values)
                )
                columns[name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
            tables.append(pa.table(columns))
        whole = pa.concat_tables(tables)
        # One row group a shard, as Clozekit writes it.
        with pyarrow.parquet.ParquetWriter(f"{out}/{path.stem}.parquet", whole.schema, compression="zstd") as writer:
            writer.write_table(whole)


def padded(dataset: str, out: str) -> None:
    import tensorflow as tf

    for path in shards(dataset):
        with tf.io.TFRecordWriter(f"{out}/{path.name}") as writer:
            for batch in batches([path]):
                columns = {name: values.numpy() for name, values in padded_features(batch).items()}
                for values in zip(*columns.values(), strict=True):
                    feature = {
                        name: tf.train.Feature(int64_list=tf.train.Int64List(value=some))
                        for name, some in zip(columns, values, strict=True)
                    }
                    writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def padded_features(batch: dict[str, Any]) -> dict[str, Any]:
    """Each (rows, LENGTH), the row_id (rows, 1)."""
    import tensorflow as tf

    lengths, ids = batch["document_lengths"], batch["token_ids"]
    numbers = tf.ragged.range(1, lengths.row_lengths() + 1).flat_values
    columns = {
        "document_ids": ids.with_values(tf.repeat(numbers, lengths.flat_values)),
        "padding_mask": tf.ones_like(ids),
        "positions": ids.with_values(tf.ragged.range(lengths.flat_values).flat_values),
        "token_ids": ids,
    }
    padded = {name: column.to_tensor(shape=[None, LENGTH]) for name, column in columns.items()}
    return {**padded, "row_id": batch["row_id"].to_tensor()}


def tfds_sequential(dataset: str, out: str) -> None:
    """The writer that TensorFlow Datasets has for rows that come in their order."""
    import tensorflow_datasets as tfds

    version = tfds.core.utils.Version("1.0.0")
    identity = tfds.core.dataset_info.DatasetIdentity("rows", version, out, module_name="peers", config_name=None)
    info = tfds.core.DatasetInfo(builder=identity, features=tfds_features(), split_dict=tfds.core.splits.SplitDict([]))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=10**9)
    writer.initialize_splits(["train"])
    for batch in batches(shards(dataset)):
        writer.add_examples({"train": list(tfds_rows(batch))})
    writer.close_all()


def tfds_builder(dataset: str, out: str) -> None:
    """A dataset builder, as TensorFlow Datasets asks for one; it shuffles nothing."""
    import tensorflow_datasets as tfds

    class Rows(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.utils.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=tfds_features(), disable_shuffling=True)

        def _split_generators(self, manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for batch in batches(shards(dataset)):
                yield from ((int(row["row_id"]), row) for row in tfds_rows(batch))

    tfds.disable_progress_bar()
    Rows(data_dir=out).download_and_prepare()


def tfds_features() -> Any:
    import tensorflow_datasets as tfds

    numbers = tfds.features.Sequence(np.int64)
    return tfds.features.FeaturesDict({"document_lengths": numbers, "row_id": np.int64, "token_ids": numbers})


def tfds_rows(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cut = {name: np.split(batch[name].values.numpy(), batch[name].row_splits.numpy()[1:-1]) for name in NAMES}
    for lengths, (row_id,), ids in zip(*(cut[name] for name in NAMES), strict=True):
        yield {"document_lengths": lengths, "row_id": row_id, "token_ids": ids}


PEERS: dict[str, Callable[[str, str], dict[str, int] | None]] = {
    "read": read,
    "parquet": parquet,
    "padded": padded,
    "tfds-sequential": tfds_sequential,
    "tfds-builder": tfds_builder,
}

if __name__ == "__main__":
    # Set before TensorFlow is imported.
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    name, dataset, out = sys.argv[1:]
    import tensorflow as tf

    if name == "parquet":
        import pyarrow.parquet  # noqa: F401
    if name.startswith("tfds"):
        tfds_features()
    tf.constant(0)
    started = time.process_time()
    print(json.dumps({"start": started, **(PEERS[name](dataset, out) or {})}))
