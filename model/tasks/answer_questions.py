"""Answering questions with a question answerer: the best span of each text, over all of its windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from clozekit.model.preprocessing.question_rows import QuestionRows, question_rows
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError

# As run_squad.py of Devlin et al. 2018.
MAX_ANSWER_TOKENS = 30
_BEST = 20


@dataclass(frozen=True)
class Answer:
    """text[begin:end], and how much its score (the sum of two logits) is above that of no answer. An empty text is no answer."""

    text: str
    begin: int
    end: int
    score: float


def answer_questions(
    task: Task,
    questions: Sequence[str],
    contexts: Sequence[str],
    allow_none: bool = False,
    batch_size: int = 32,
) -> list[Answer]:
    """The answer to each question in the text beside it. allow_none: no answer is one where it scores best, as in SQuAD 2.

    Raises InputError without a preprocessor, or for lists of other lengths.
    """
    if task.preprocessor is None:
        raise InputError("raw text needs a preprocessor, this task was built with preprocessor=None; give it one")
    if len(questions) != len(contexts):
        raise InputError(f"each question must have its text, got {len(questions)} questions and {len(contexts)} texts")
    encoded = question_rows(task.preprocessor, questions, contexts)
    logits = encoded.rows.outputs(
        lambda batch: np.asarray(keras.ops.convert_to_numpy(task(batch, training=False))), batch_size
    )
    return best_answers(encoded, logits, contexts, allow_none)


def best_answers(
    encoded: QuestionRows, logits: np.ndarray, contexts: Sequence[str], allow_none: bool = False
) -> list[Answer]:
    """The answers that logits (tokens, 2) of all rows give."""
    best = [(-np.inf, 0, 0)] * len(contexts)
    nothing = np.full(len(contexts), np.inf)
    for row, question in enumerate(encoded.questions):
        places = slice(encoded.rows.starts[row], encoded.rows.starts[row + 1])
        scores, offsets = logits[places], encoded.offsets[places]
        nothing[question] = min(nothing[question], float(scores[0].sum()))
        found = _best_span(scores, offsets)
        if found is not None and found[0] > best[question][0]:
            best[question] = found
    answers = []
    for context, (score, begin, end), none in zip(contexts, best, nothing, strict=True):
        if score == -np.inf or (allow_none and none > score):
            answers.append(Answer("", 0, 0, min(float(score - none), 0.0) if np.isfinite(score) else 0.0))
        else:
            # A token may hold the space before it.
            end = begin + len(context[begin:end].rstrip())
            begin = end - len(context[begin:end].lstrip())
            answers.append(Answer(context[begin:end], begin, end, float(score - none)))
    return answers


def _best_span(scores: np.ndarray, offsets: np.ndarray) -> tuple[float, int, int] | None:
    """(score, begin, end) in characters, of the best span of one row; None where the row has no text."""
    of_text = np.flatnonzero(offsets[:, 0] >= 0)
    begins, ends = (of_text[np.argsort(-scores[of_text, side], kind="stable")[:_BEST]] for side in (0, 1))
    length = ends[None, :] - begins[:, None] + 1
    allowed = (length >= 1) & (length <= MAX_ANSWER_TOKENS)
    if not allowed.any():
        return None
    sums = np.where(allowed, scores[begins, 0][:, None] + scores[ends, 1][None, :], -np.inf)
    first, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return float(sums[first, last]), int(offsets[begins[first], 0]), int(offsets[ends[last], 1])
