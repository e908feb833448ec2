"""Records: what the graph derives from the lengths of the packed documents, and what an unreadable one becomes."""

import tensorflow as tf

from clozekit.model.row_records import RecordFormat, derive, parse_rows


def test_what_is_derived_from_the_lengths() -> None:
    derived = derive(tf.ragged.constant([[2, 3], [6], [1, 1, 1]], dtype=tf.int64), 6)
    assert derived["document_ids"].numpy().tolist() == [[1, 1, 2, 2, 2, 0], [1] * 6, [1, 2, 3, 0, 0, 0]]
    assert derived["positions"].numpy().tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]]
    assert derived["padding_mask"].numpy().tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6, [1, 1, 1, 0, 0, 0]]


def test_an_empty_record_is_a_row_of_padding() -> None:
    for bytes_per_id in (None, 2, 4):
        rows = parse_rows(tf.constant([b"", b""]), RecordFormat(4, 1, bytes_per_id))
        assert rows["token_ids"].numpy().tolist() == [[1] * 4] * 2
        assert rows["padding_mask"].numpy().tolist() == [[0] * 4] * 2
        assert rows["row_id"].numpy().tolist() == [-1, -1]
