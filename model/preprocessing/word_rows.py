"""Sentences given as words into rows of ids that know which token begins which word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clozekit.model.preprocessing.encoded_rows import EncodedRows, rows_of
from clozekit.model.preprocessing.preprocessor import Preprocessor


@dataclass(frozen=True)
class WordRows:
    """rows; sentences (N,): the sentence of each row; words (tokens,): the number in its sentence of the word whose first
    piece a token is, else -1."""

    rows: EncodedRows
    sentences: np.ndarray
    words: np.ndarray

    def sentence_of_tokens(self) -> np.ndarray:
        """(tokens,): the sentence that each token is of."""
        return np.repeat(self.sentences, self.rows.lengths)


def word_rows(preprocessor: Preprocessor, sentences: Sequence[Sequence[str]]) -> WordRows:
    """Each word is tokenized by itself, as a word within a text; a sentence that is longer than a row goes on in the next.

    So every word stands whole in exactly one row, but one that is longer than a row, whose last pieces are cut off, and one
    without any piece (a control character), which is in none.
    """
    tokenizer = preprocessor.tokenizer
    room = preprocessor.sequence_length - 2
    words = [tokenizer.space_before_word + word for sentence in sentences for word in sentence]
    batch = tokenizer.encode_batch(words)
    pieces = iter(np.split(batch.token_ids, np.cumsum(batch.row_lengths)[:-1]) if words else [])
    token_ids: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    of_rows: list[int] = []

    def end_row(sentence: int, ids: list[int], places: list[int]) -> None:
        token_ids.append(np.array([tokenizer.start_token_id, *ids, tokenizer.end_token_id]))
        numbers.append(np.array([-1, *places, -1]))
        of_rows.append(sentence)

    for number, sentence in enumerate(sentences):
        ids: list[int] = []
        places: list[int] = []
        for place in range(len(sentence)):
            word = next(pieces)[:room].tolist()
            if ids and len(ids) + len(word) > room:
                end_row(number, ids, places)
                ids, places = [], []
            ids += word
            places += [place, *([-1] * (len(word) - 1))] if word else []
        if ids:
            end_row(number, ids, places)
    segments = [np.zeros(len(ids), np.int8) for ids in token_ids]
    flat = np.concatenate([np.zeros(0, np.int64), *numbers])
    return WordRows(rows_of(token_ids, segments, preprocessor), np.array(of_rows, np.int64), flat)
