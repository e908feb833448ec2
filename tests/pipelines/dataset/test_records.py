"""Records and TFRecord files: what is written is read back, by us and by TensorFlow, and damage is named."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow as tf

from clozekit.pipelines.dataset.records import encode_examples, records_to_rows, rows_to_records, shard_name
from clozekit.pipelines.dataset.tfrecord import frame_records, read_records
from clozekit.tokenizers.common.errors import InputError

TOKEN_IDS = [[2, 1000, 3, 2, 70_000, 3], [2, 5, 3]]
DOCUMENT_LENGTHS = [[3, 3], [3]]


def records() -> list[bytes]:
    return rows_to_records(pa.array(TOKEN_IDS), pa.array(DOCUMENT_LENGTHS), 41)


def test_any_reader_of_examples_reads_a_record() -> None:
    examples = [tf.train.Example.FromString(record).features.feature for record in records()]
    assert [list(example["token_ids"].int64_list.value) for example in examples] == TOKEN_IDS
    assert [list(example["document_lengths"].int64_list.value) for example in examples] == DOCUMENT_LENGTHS
    assert [list(example["row_id"].int64_list.value) for example in examples] == [[41], [42]]
    assert [set(example) for example in examples] == [{"token_ids", "document_lengths", "row_id"}] * 2


def test_the_bytes_of_a_record_are_always_the_same() -> None:
    # Pinned: tfx-bsl alone writes the features in the order of a hash table, which differs from process to process.
    # The bytes follow from the protobuf encoding of the three features in alphabetical order.
    (record,) = rows_to_records(pa.array([[1, 300]]), pa.array([[2]]), 0)
    assert record.hex() == (
        "0a42"
        "0a190a10646f63756d656e745f6c656e6774687312051a030a0102"  # document_lengths: [2]
        "0a0f0a06726f775f696412051a030a0100"  # row_id: [0]
        "0a140a09746f6b656e5f69647312071a050a0301ac02"  # token_ids: [1, 300]
    )


# Lists of values of one byte are written without the coder: around the lengths and values where a varint gets a second byte, and
# lists that are left to the coder.
@pytest.mark.parametrize(
    "lists",
    [
        [[0]],
        [[127], [1] * 127, [5] * 128, list(range(120)) * 150],
        [[1, 2], [128]],
        [[1, 2], [-1]],
    ],
)
def test_lists_of_small_numbers_have_the_bytes_of_protobuf(lists: list[list[int]]) -> None:
    expected = [
        tf.train.Example(
            features=tf.train.Features(feature={"mask": tf.train.Feature(int64_list=tf.train.Int64List(value=values))})
        ).SerializeToString(deterministic=True)
        for values in lists
    ]
    assert encode_examples({"mask": pa.array(lists)}) == expected
    # Of a part of a column too.
    assert encode_examples({"mask": pa.array([[7], *lists]).slice(1)}) == expected


def test_records_decode_to_rows() -> None:
    rows = records_to_rows(records())
    assert rows.to_pydict() == {
        "token_ids": TOKEN_IDS,
        "document_lengths": DOCUMENT_LENGTHS,
        "row_id": [[41], [42]],
    }


def test_tensorflow_reads_our_framing_and_we_read_its(tmp_path: Path) -> None:
    contents = [b"", b"one", b"x" * 100_000]
    ours = tmp_path / "ours.tfrecord"
    ours.write_bytes(frame_records(contents))
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(ours))] == contents
    theirs = tmp_path / "theirs.tfrecord"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for content in contents:
            writer.write(content)
    assert list(read_records(io.BytesIO(theirs.read_bytes()), "s")) == contents
    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "record 1: its content is cut short"),
        (lambda b: b[:22], "record 1: its header is cut short"),
        (lambda b: b[:12] + b"X" + b[13:], "record 0: its content fails the checksum"),
        (lambda b: b"\x09" + b[1:], "record 0: its length fails the checksum"),
    ],
)
def test_damage_is_named(change, message: str) -> None:  # type: ignore[no-untyped-def]
    whole = frame_records([b"one", b"two"])
    with pytest.raises(InputError, match=message):
        list(read_records(io.BytesIO(change(whole)), "train-00000.tfrecord"))


def test_shard_names() -> None:
    assert shard_name("train", 3, 12, "0123456789abcdef") == "train-00003-of-00012-01234567.tfrecord"
