"""Filling masks: the likeliest pieces for each mask token of one or many texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from clozekit.model.layers.masked_lm_head import MAX_LOGITS
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer

# Lengths and slots are rounded up to these, so that few shapes are compiled.
_LENGTH_STEP, _SLOT_STEP, _MAX_ROWS = 32, 4, 32


@dataclass(frozen=True)
class Guess:
    """A piece that may stand for a mask, and how likely it is.

    Args:
        piece: as the vocabulary has it.
        probability: 0 to 1, over the whole vocabulary.
        token_id: of the piece.
        text: how it reads.

    Example:

        >>> from clozekit.model.tasks.fill_mask import Guess
        >>> [[best]] = masked_lm.fill_mask("the [MASK] fox", top_k=1)
        >>> isinstance(best, Guess), 0 < best.probability < 1
        (True, True)
    """

    piece: str
    probability: float
    token_id: int
    text: str


def tokenizer_of(task: Task) -> Tokenizer:
    """The tokenizer of a task's preprocessor. Raises InputError when it has none."""
    if task.preprocessor is None:
        raise InputError("raw text needs a preprocessor, this task was built with preprocessor=None; give it one")
    return task.preprocessor.tokenizer


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, max_sequence_length: int) -> list[np.ndarray]:
    """int32 ids of each text with the special tokens around it; special tokens in the text are honoured.

    Raises InputError when a text is longer than the model's positions.
    """
    special = tokenizer.special_token_names
    start, end = (tokenizer.token_to_id(special[role]) for role in ("start_token", "end_token"))
    batch = tokenizer.encode_batch(list(texts), special_tokens_in_strings=True)
    rows = np.split(batch.token_ids, np.cumsum(batch.row_lengths)[:-1])
    encoded = [np.concatenate([[start], row, [end]]).astype(np.int32) for row in rows]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) > max_sequence_length:
            raise InputError(
                f"a text must be at most {max_sequence_length} tokens for this model, got {len(ids)} in {text[:60]!r};"
                " shorten it"
            )
    return encoded


def fill_masks(task: Task, texts: Sequence[str], top_k: int = 5) -> list[list[list[Guess]]]:
    """For each text, for each of its masks in order, the `top_k` likeliest pieces that are no special tokens.

    Raises InputError when a text holds no mask or is too long.
    """
    tokenizer = tokenizer_of(task)
    special_ids = sorted(set(map(tokenizer.token_to_id, tokenizer.special_tokens)))
    if not 1 <= top_k <= tokenizer.vocabulary_size() - len(special_ids):
        raise InputError(
            f"top_k must be from 1 to the {tokenizer.vocabulary_size() - len(special_ids)} ordinary pieces, got {top_k}"
        )
    if not texts:
        return []
    mask = tokenizer.special_token_names["mask_token"]
    encoded = encode_texts(texts, tokenizer, task.backbone.max_sequence_length)
    positions = [np.flatnonzero(ids == tokenizer.token_to_id(mask)) for ids in encoded]
    for text, found in zip(texts, positions, strict=True):
        if not len(found):
            raise InputError(f"a text to fill must hold {mask} at least once, got {text!r}")
    filled: list[list[list[Guess]]] = [[] for _ in texts]
    for rows in batches_by_length(encoded, positions, task.backbone.vocabulary_size):
        logits = masked_logits(task, tokenizer, [encoded[row] for row in rows], [positions[row] for row in rows])
        for row, scores in zip(rows, logits, strict=True):
            filled[row] = [
                _best(tokenizer, special_ids, slot, top_k) for slot in scores[: len(positions[row])].astype(np.float64)
            ]
    return filled


def batches_by_length(
    encoded: Sequence[np.ndarray], positions: Sequence[np.ndarray], vocabulary_size: int
) -> list[list[int]]:
    """Rows of about one length together, few enough that their logits stay below MAX_LOGITS."""
    order = sorted(range(len(encoded)), key=lambda row: (len(encoded[row]), len(positions[row]), row))
    batches: list[list[int]] = []
    for row in order:
        last = batches[-1] if batches else None
        slots = _round_up(max(len(positions[row]) for row in [*(last or []), row]), _SLOT_STEP)
        same = last is not None and _round_up(len(encoded[last[0]]), _LENGTH_STEP) == _round_up(
            len(encoded[row]), _LENGTH_STEP
        )
        fits = last is not None and (len(last) + 1) * slots * vocabulary_size <= MAX_LOGITS
        if last is not None and same and fits and len(last) < _MAX_ROWS:
            last.append(row)
        else:
            batches.append([row])
    return batches


def masked_logits(
    task: Task, tokenizer: Tokenizer, encoded: Sequence[np.ndarray], positions: Sequence[np.ndarray]
) -> np.ndarray:
    """float32 (B, M, vocabulary_size), cut to the tokenizer's pieces, at `positions` of rows of ids."""
    limit = task.backbone.max_sequence_length
    length = min(limit, _round_up(max(map(len, encoded)), _LENGTH_STEP))
    slots = _round_up(max(map(len, positions)), _SLOT_STEP)
    # A power of two of rows: the last batch of a file is no shape of its own.
    num_rows = 1 << (len(encoded) - 1).bit_length()
    pad = tokenizer.token_to_id(tokenizer.special_token_names["pad_token"])
    batch = {
        "token_ids": np.full((num_rows, length), pad, np.int32),
        "padding_mask": np.zeros((num_rows, length), np.int32),
        "mask_positions": np.zeros((num_rows, slots), np.int32),
    }
    # Rows of filling look at their first token, so that no softmax is empty.
    batch["padding_mask"][:, 0] = 1
    if "segment_ids" in task.backbone.input_names():
        batch["segment_ids"] = np.zeros((num_rows, length), np.int32)
    for row, (ids, found) in enumerate(zip(encoded, positions, strict=True)):
        batch["token_ids"][row, : len(ids)] = ids
        batch["padding_mask"][row, : len(ids)] = 1
        batch["mask_positions"][row, : len(found)] = found
    logits = keras.Model.predict_on_batch(task, batch)
    return np.asarray(logits, np.float32)[: len(encoded), :, : tokenizer.vocabulary_size()]


def _best(tokenizer: Tokenizer, special_ids: list[int], scores: np.ndarray, top_k: int) -> list[Guess]:
    scores[special_ids] = -np.inf
    exponents = np.exp(scores - scores.max())
    probabilities = exponents / exponents.sum()
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [
        Guess(tokenizer.id_to_token(int(best)), float(probabilities[best]), int(best), tokenizer.decode([int(best)]))
        for best in order
    ]


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
