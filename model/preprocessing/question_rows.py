"""Questions and the texts that may answer them into rows of ids; a long text goes over several that overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clozekit.model.preprocessing.encoded_rows import EncodedRows, rows_of
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.tokenizers.families.token_offsets import encode_with_offsets

# As Devlin et al. 2018 did: of a question so many tokens are read, and windows overlap by so many (run_squad.py).
MAX_QUESTION_TOKENS = 64
OVERLAP = 128


@dataclass(frozen=True)
class QuestionRows:
    """rows; questions (N,): the number of the question of each row; offsets (tokens, 2): begin and end of each token in the
    text, in characters, -1 for those that are not the text's."""

    rows: EncodedRows
    questions: np.ndarray
    offsets: np.ndarray


def question_rows(preprocessor: Preprocessor, questions: Sequence[str], contexts: Sequence[str]) -> QuestionRows:
    """`[CLS] question [SEP] text [SEP]`, or RoBERTa's `<s> question </s></s> text </s>`, for every window of every text."""
    tokenizer = preprocessor.tokenizer
    # The texts of several questions are one as a rule.
    distinct = list(dict.fromkeys(contexts))
    of_text = dict(zip(distinct, encode_with_offsets(tokenizer, distinct), strict=True))
    asked = tokenizer.encode_batch(list(questions))
    parts = np.split(asked.token_ids, np.cumsum(asked.row_lengths)[:-1]) if len(questions) else []
    end = [tokenizer.end_token_id]
    token_ids, segment_ids, offsets, numbers = [], [], [], []
    for number, (question, context) in enumerate(zip(parts, contexts, strict=True)):
        ids, places = of_text[context]
        most = min(MAX_QUESTION_TOKENS, (preprocessor.sequence_length - 2 - preprocessor.num_separators) // 2)
        first = [tokenizer.start_token_id, *question[:most], *(end * preprocessor.num_separators)]
        room = preprocessor.sequence_length - len(first) - 1
        step = max(1, room - min(OVERLAP, room // 2))
        for start in range(0, max(1, len(ids) - room + step), step):
            window = slice(start, start + room)
            kept = len(ids[window])
            token_ids.append(np.array([*first, *ids[window], *end]))
            segment_ids.append(np.array([0] * len(first) + [1] * (kept + 1), np.int8))
            around = np.full((len(first), 2), -1), np.full((1, 2), -1)
            offsets.append(np.concatenate([around[0], places[window], around[1]]))
            numbers.append(number)
    nothing = np.zeros((0, 2), np.int64)
    rows = rows_of(token_ids, segment_ids, preprocessor)
    return QuestionRows(rows, np.array(numbers, np.int64), np.concatenate([nothing, *offsets]))


def answer_tokens(encoded: QuestionRows, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """int32 (N, 2): the first and the last token, within its row, of the answer to each row's question, whose characters are
    begins[question] to ends[question]; 0 and 0, the first token, where the row has not all of it, or begins is -1."""
    found = np.zeros((len(encoded.rows), 2), np.int32)
    for row, question in enumerate(encoded.questions):
        begin, end = begins[question], ends[question]
        offsets = encoded.offsets[encoded.rows.starts[row] : encoded.rows.starts[row + 1]]
        of_text = np.flatnonzero(offsets[:, 0] >= 0)
        if begin < 0 or not len(of_text) or offsets[of_text[0], 0] > begin or offsets[of_text[-1], 1] < end:
            continue
        first = of_text[offsets[of_text, 1] > begin]
        last = of_text[offsets[of_text, 0] < end]
        if len(first) and len(last) and first[0] <= last[-1]:
            found[row] = first[0], last[-1]
    return found
