"""The formats a dataset is exported to: what a shard becomes, what describes the folder, the line that reads it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from clozekit.pipelines.dataset.list_columns import list_column, list_parts
from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo
from clozekit.pipelines.dataset.records import (
    DOCUMENT_LENGTHS,
    PAIR_LABELS,
    ROW_ID,
    SEGMENT_LENGTHS,
    TOKEN_IDS,
    encode_examples,
)
from clozekit.pipelines.dataset.tfrecord import frame_records

TFDS_NAME = "clozekit"
TFDS_VERSION = "1.0.0"
PAIR_FEATURES = ("pair_labels", "segment_ids")
PADDED_FEATURES = ("document_ids", "padding_mask", "positions", TOKEN_IDS)
EXPORT_FILE = "_export.json"


@dataclass(frozen=True)
class ExportFormat:
    """A format that datasets are exported to; an entry of FORMATS.

    Args:
        shard_name: the file of a shard, with {split} and {number} (00000-of-00008) in it.
        reading_line: (folder, manifest) -> the one line with which a stranger reads it.
        convert: the rows of a shard, in their order, as record batches with list<int64> columns -> its file as bytes; None: the
            shard as it is.
        files: file name -> its JSON from the manifest, of what describes the folder besides EXPORT_FILE.

    Example:

        >>> from clozekit.pipelines.export_formats import ExportFormat
        >>> def to_json(blocks, manifest):
        ...     return b"".join(json.dumps(row).encode() + b"\\n" for rows in blocks for row in rows.to_pylist())
        >>> ExportFormat("{split}-{number}.jsonl", lambda folder, _: f'open("{folder}/...")', to_json).shard_name
        '{split}-{number}.jsonl'
    """

    shard_name: str
    reading_line: Callable[[str, Manifest], str]
    convert: Callable[[Iterable[pa.RecordBatch], Manifest], bytes] | None = None
    files: Mapping[str, Callable[[Manifest], dict[str, Any]]] = field(default_factory=dict)


def is_exported(name: str) -> bool:
    """Whether exports consist of such files: of what a killed one left, nothing else is removed."""
    described = {EXPORT_FILE, *(file for made in FORMATS.values() for file in made.files)}
    return name in described or any(_shard_pattern(made).fullmatch(name) for made in FORMATS.values())


def _shard_pattern(made: ExportFormat) -> re.Pattern[str]:
    pattern = re.escape(made.shard_name).replace(r"\{split\}", "(train|validation)")
    return re.compile(pattern.replace(r"\{number\}", r"\d{5,}-of-\d{5,}"))


def exported_name(to: str, split: str, index: int, num_shards: int) -> str:
    """File name of an exported shard."""
    return FORMATS[to].shard_name.format(split=split, number=f"{index:05d}-of-{num_shards:05d}")


def padded_rows(rows: pa.RecordBatch, sequence_length: int, pad_token_id: int) -> dict[str, np.ndarray]:
    """What a reader of padded rows needs, each int64 (num_rows, sequence_length); the same values as the trainer derives.

    document_ids: 1.. per packed document, 0 = padding; positions: restart at each document; padding_mask: 1 = real. Sentence
    pairs have segment_ids too, and pair_labels: the label at the first token of its document, -1 elsewhere.
    """
    ids, num_tokens = list_parts(rows.column(TOKEN_IDS))
    lengths, num_documents = list_parts(rows.column(DOCUMENT_LENGTHS))
    real = np.arange(sequence_length) < num_tokens[:, None]
    first = np.cumsum(num_documents) - num_documents
    numbers = np.arange(1, len(lengths) + 1) - np.repeat(first, num_documents)
    starts = np.cumsum(lengths) - lengths

    def spread(values: np.ndarray, padding: int) -> np.ndarray:
        padded = np.full(real.shape, padding, np.int64)
        padded[real] = values
        return padded

    pairs = {}
    if SEGMENT_LENGTHS in rows.schema.names:
        places = np.arange(len(ids)) - np.repeat(starts, lengths)
        points, labels = (list_parts(rows.column(name))[0] for name in (SEGMENT_LENGTHS, PAIR_LABELS))
        pairs["segment_ids"] = spread(places >= np.repeat(points, lengths), 0)
        pairs["pair_labels"] = spread(np.where(places == 0, np.repeat(labels, lengths), -1), -1)
    return {
        **pairs,
        "document_ids": spread(np.repeat(numbers, lengths), 0),
        "padding_mask": real.astype(np.int64),
        "positions": spread(np.arange(len(ids)) - np.repeat(starts, lengths), 0),
        TOKEN_IDS: spread(ids, pad_token_id),
    }


def _to_padded(blocks: Iterable[pa.RecordBatch], manifest: Manifest) -> bytes:
    length, pad_token_id = manifest.sequence_length, manifest.tokenizer.special_token_ids["pad_token"]
    return b"".join(_padded_records(rows, length, pad_token_id) for rows in blocks)


def _padded_records(rows: pa.RecordBatch, sequence_length: int, pad_token_id: int) -> bytes:
    lengths = np.full(rows.num_rows, sequence_length)
    padded = padded_rows(rows, sequence_length, pad_token_id)
    columns = {name: list_column(values.reshape(-1), lengths) for name, values in padded.items()}
    return frame_records(encode_examples({**columns, ROW_ID: rows.column(ROW_ID)}))


def _to_parquet(blocks: Iterable[pa.RecordBatch], manifest: Manifest) -> bytes:
    # Joined to one piece: the pages of a file would end elsewhere if its columns came in several.
    table = pa.concat_tables(map(_parquet_table, blocks)).combine_chunks()
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _parquet_table(rows: pa.RecordBatch) -> pa.Table:
    columns: dict[str, pa.Array] = {
        name: rows.column(name).cast(pa.list_(pa.int32())) for name in rows.schema.names if name != ROW_ID
    }
    return pa.table({ROW_ID: rows.column(ROW_ID).flatten(), **columns})


def describe_folder(to: str, manifest: Manifest) -> dict[str, bytes]:
    """File name -> content of what is written last, when every shard is there: it makes a dataset of them."""
    described = {
        "from_dataset_sha256": manifest.dataset_sha256,
        "format": to,
        "sequence_length": manifest.sequence_length,
        "tokenizer_sha256": manifest.tokenizer.sha256,
        "special_token_ids": dict(manifest.tokenizer.special_token_ids),
        "rows": {name: split.rows for name, split in manifest.splits.items()},
        "read_with": reading_line(to, "DIRECTORY", manifest),
    }
    files = {name: make(manifest) for name, make in FORMATS[to].files.items()}
    return {name: _json(content) for name, content in {**files, EXPORT_FILE: described}.items()}


def reading_line(to: str, directory: str, manifest: Manifest) -> str:
    """The one line with which a stranger reads the folder."""
    return FORMATS[to].reading_line(directory, manifest)


def _read_padded(directory: str, manifest: Manifest) -> str:
    features = sorted([*PADDED_FEATURES, *(PAIR_FEATURES if manifest.has_pairs else ())])
    names = ", ".join(f'"{name}"' for name in features)
    return (
        f"tf.io.parse_example(records, {{name: tf.io.FixedLenFeature([{manifest.sequence_length}], tf.int64)"
        f' for name in ({names})}} | {{"{ROW_ID}": tf.io.FixedLenFeature([], tf.int64)}})'
    )


def _read_parquet(directory: str, manifest: Manifest) -> str:
    return f'pyarrow.parquet.read_table("{directory}", filters=[("{ROW_ID}", "<", 100)])'


def _read_tfds(directory: str, manifest: Manifest) -> str:
    split = next(iter(manifest.splits))
    return f'tensorflow_datasets.builder_from_directory("{directory}").as_dataset(split="{split}")'


def tfds_features(manifest: Manifest) -> dict[str, Any]:
    """`features.json` as TensorFlow Datasets 4.9 writes it: lists of any length, and one number."""
    place = "tensorflow_datasets.core.features"
    scalar = {"dtype": "int64", "encoding": "none", "shape": {}}
    inner = {"pythonClassName": f"{place}.tensor_feature.Tensor", "tensor": scalar}
    features: dict[str, Any] = {
        name: {
            "pythonClassName": f"{place}.sequence_feature.Sequence",
            "sequence": {"feature": inner, "length": "-1"},
        }
        for name in (DOCUMENT_LENGTHS, TOKEN_IDS, *((SEGMENT_LENGTHS, PAIR_LABELS) if manifest.has_pairs else ()))
    }
    features[ROW_ID] = {"pythonClassName": f"{place}.scalar.Scalar", "tensor": scalar}
    return {"pythonClassName": f"{place}.features_dict.FeaturesDict", "featuresDict": {"features": features}}


def tfds_info(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": TFDS_NAME,
        "version": TFDS_VERSION,
        "fileFormat": "tfrecord",
        "description": (
            f"Rows of up to {manifest.sequence_length} tokens, packed by Clozekit; dataset_sha256 {manifest.dataset_sha256}."
        ),
        "splits": [_tfds_split(name, split) for name, split in manifest.splits.items()],
    }


def _tfds_split(name: str, split: SplitInfo) -> dict[str, Any]:
    # Protobuf's JSON writes 64-bit numbers as strings.
    return {
        "name": name,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "shardLengths": [str(shard.rows) for shard in split.shards],
        "numBytes": str(sum(shard.num_bytes for shard in split.shards)),
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


# TensorFlow Datasets finds its files by the pattern of their names, and reads shards as they are.
FORMATS = {
    "padded": ExportFormat("{split}-{number}.tfrecord", _read_padded, _to_padded),
    "parquet": ExportFormat("{split}-{number}.parquet", _read_parquet, _to_parquet),
    "tfds": ExportFormat(
        TFDS_NAME + "-{split}.tfrecord-{number}",
        _read_tfds,
        files={"features.json": tfds_features, "dataset_info.json": tfds_info},
    ),
}
