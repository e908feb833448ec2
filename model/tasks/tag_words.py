"""Tagging words with a token classifier: the class of each word of sentences that are given as words."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from clozekit.model.preprocessing.word_rows import word_rows
from clozekit.model.tasks.classify_texts import probabilities
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError


@dataclass(frozen=True)
class Tag:
    """A word's class and how sure the model is of it; of a word without any token, such as a control character, neither."""

    word: str
    label: str | None
    probability: float | None


def tag_words(task: Task, sentences: Sequence[Sequence[str]], batch_size: int = 32) -> list[list[Tag]]:
    """A tag for every word of every sentence, however long: what its first piece is given.

    Raises InputError without a preprocessor, or for sentences that are no lists of words.
    """
    if task.preprocessor is None:
        raise InputError("words need a preprocessor, this task was built with preprocessor=None; give it one")
    for sentence in sentences:
        if isinstance(sentence, str) or not all(isinstance(word, str) for word in sentence):
            raise InputError(f"a sentence must be a list of words, got {sentence!r:.80}; split it first")
    encoded = word_rows(task.preprocessor, sentences)
    logits = encoded.rows.outputs(
        lambda batch: np.asarray(keras.ops.convert_to_numpy(task(batch, training=False))), batch_size
    )
    names = tuple(task.labels or map(str, range(task.num_classes)))
    tags = [[Tag(word, None, None) for word in sentence] for sentence in sentences]
    firsts = np.flatnonzero(encoded.words >= 0)
    of_tokens = encoded.sentence_of_tokens()
    shares = probabilities(logits[firsts]) if len(firsts) else np.zeros((0, len(names)))
    for token, row in zip(firsts, shares, strict=True):
        number, place = int(of_tokens[token]), int(encoded.words[token])
        best = int(row.argmax())
        tags[number][place] = Tag(sentences[number][place], names[best], float(row[best]))
    return tags
