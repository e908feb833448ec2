"""Rows of words and of questions: nothing is lost where a text is longer than a row, and places in texts are right."""

from typing import Any

import numpy as np
import pytest
import small_families as families

from clozekit.model.preprocessing.encoded_rows import EncodedRows
from clozekit.model.preprocessing.question_rows import answer_tokens, question_rows
from clozekit.model.preprocessing.word_rows import word_rows
from clozekit.tokenizers.families.token_offsets import encode_with_offsets

LONG = (" ".join(families.TEXTS) + " ") * 3


def rows_of(rows: EncodedRows, values: np.ndarray) -> list[np.ndarray]:
    return [values[rows.starts[row] : rows.starts[row + 1]] for row in range(len(rows))]


@pytest.fixture(params=families.NAMES)
def preprocessor(request: pytest.FixtureRequest) -> Any:
    return families.text_classifier_preprocessor(request.param, sequence_length=16)


def test_every_word_stands_in_one_row(preprocessor: Any) -> None:
    sentences = [LONG.split(), ["dog"], [], ["quick"] * 40]
    encoded = word_rows(preprocessor, sentences)
    assert encoded.rows.lengths.max() <= 16
    assert encoded.sentences.tolist() == sorted(encoded.sentences.tolist())
    seen = list(zip(encoded.sentence_of_tokens()[encoded.words >= 0], encoded.words[encoded.words >= 0], strict=True))
    assert seen == [(number, place) for number, words in enumerate(sentences) for place in range(len(words))]
    tokenizer = preprocessor.tokenizer
    for ids, words in zip(
        rows_of(encoded.rows, encoded.rows.token_ids), rows_of(encoded.rows, encoded.words), strict=True
    ):
        assert (ids[0], ids[-1]) == (tokenizer.start_token_id, tokenizer.end_token_id)
        assert words[0] == words[-1] == -1
    # The pieces of each word are those of the word alone.
    first = sentences[0][0]
    pieces = tokenizer.encode_batch([tokenizer.space_before_word + first]).token_ids
    assert encoded.rows.token_ids[1 : 1 + len(pieces)].tolist() == pieces.tolist()


def test_a_word_longer_than_a_row_loses_its_end_and_one_without_tokens_has_no_place() -> None:
    preprocessor = families.text_classifier_preprocessor("bert", sequence_length=8)
    encoded = word_rows(preprocessor, [["a", "homeworkhomeworkdogdogdog", "\u200b", "dog"]])
    assert [row.tolist() for row in rows_of(encoded.rows, encoded.words)] == [
        [-1, 0, -1],
        [-1, 1, -1, -1, -1, -1, -1, -1],
        [-1, 3, -1],
    ]
    assert len(word_rows(preprocessor, []).rows) == 0


@pytest.mark.parametrize("text", ["the quick dog", " a  dog\tforgot\n homework.", "", "a [MASK] dog", "aé dog ﬁ x́"])
def test_offsets_are_of_the_tokens_of_our_tokenizer(text: str, preprocessor: Any) -> None:
    tokenizer = preprocessor.tokenizer
    ((ids, offsets),) = encode_with_offsets(tokenizer, [text])
    assert ids.tolist() == tokenizer.encode_batch([text]).token_ids.tolist()
    assert offsets.shape == (len(ids), 2)
    assert ((offsets >= 0) & (offsets <= len(text))).all() and (np.diff(offsets[:, 0]) >= 0).all()
    known = [place for place in range(len(ids)) if ids[place] != tokenizer.token_to_id("no such piece")]
    covered = {character for place in known for character in range(*offsets[place])}
    assert {place for place, character in enumerate(text) if character in "dogqui"} <= covered


def test_windows_overlap_and_leave_no_token_out(preprocessor: Any) -> None:
    encoded = question_rows(preprocessor, ["the dog", "a", "a"], [LONG, LONG, ""])
    assert encoded.rows.lengths.max() <= 16
    ((_, offsets),) = encode_with_offsets(preprocessor.tokenizer, [LONG])
    for question in (0, 1):
        windows = [
            part[part[:, 0] >= 0]
            for part, number in zip(rows_of(encoded.rows, encoded.offsets), encoded.questions, strict=True)
            if number == question
        ]
        assert {tuple(pair) for part in windows for pair in part.tolist()} == {tuple(pair) for pair in offsets.tolist()}
        assert all(before[-1, 0] >= after[0, 0] for before, after in zip(windows, windows[1:], strict=False))
    # A text of nothing has a row of nothing.
    assert (encoded.questions == 2).sum() == 1


def test_an_answer_is_where_its_characters_are(preprocessor: Any) -> None:
    text = "the quick brown fox jumped over the lazy dog"
    begin = text.index("lazy")
    encoded = question_rows(preprocessor, ["a dog"], [text])
    found = answer_tokens(encoded, np.array([begin]), np.array([begin + 4]))
    assert (found > 0).all(axis=1).any(), "no window has the answer"
    for (first, last), offsets in zip(found, rows_of(encoded.rows, encoded.offsets), strict=True):
        if first == 0:
            assert last == 0
            continue
        assert text[offsets[first, 0] : offsets[last, 1]].strip() == "lazy"
    assert (answer_tokens(encoded, np.array([-1]), np.array([-1])) == 0).all()
