"""Records: what the graph derives from the lengths of the packed documents, and what an unreadable one becomes."""

import pytest
import tensorflow as tf

from clozekit.model.reading.row_records import RecordFormat, derive, parse_rows


def test_ids_positions_and_padding_follow_from_the_lengths_of_documents() -> None:
    derived = derive(tf.ragged.constant([[2, 3], [6], [1, 1, 1]], dtype=tf.int64), 6)
    assert derived["document_ids"].numpy().tolist() == [[1, 1, 2, 2, 2, 0], [1] * 6, [1, 2, 3, 0, 0, 0]]
    assert derived["positions"].numpy().tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]]
    assert derived["padding_mask"].numpy().tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6, [1, 1, 1, 0, 0, 0]]


def test_an_empty_record_is_a_row_of_padding() -> None:
    rows = parse_rows(tf.constant([b"", b""]), RecordFormat(4, 1))
    assert rows["token_ids"].numpy().tolist() == [[1] * 4] * 2
    assert rows["padding_mask"].numpy().tolist() == [[0] * 4] * 2
    assert rows["row_id"].numpy().tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("token_ids", "lengths"),
    [
        ([2, 2**32 + 5, 3], [3]),
        ([2, -1, 3], [3]),
        ([2, 5, 3], [2]),
        ([2, 5, 3], [2**32 + 3]),
        ([2, 5, 3], [2**63 - 1, 2**63 - 1, 5]),
        ([2, 5, 3], [3, 0]),
    ],
)
def test_rows_that_would_only_fit_as_int32_are_refused(token_ids: list[int], lengths: list[int]) -> None:
    def feature(values: list[int]) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    features = {"token_ids": feature(token_ids), "document_lengths": feature(lengths), "row_id": feature([0])}
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="rows must hold ids of the vocabulary"):
        parse_rows(tf.constant([record]), RecordFormat(16, 0))
