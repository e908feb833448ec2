"""Filling masks: the likeliest pieces for each mask token of a text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clozekit.model.bert import BertMaskedLM
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Guess:
    """A piece for a mask and its probability, 0 to 1."""

    piece: str
    probability: float


def encode_with_masks(text: str, tokenizer: Tokenizer, max_sequence_length: int) -> tuple[list[int], list[int]]:
    """Ids of `text` with the special tokens around it, and the positions of its masks.

    Raises InputError when there is no mask in it or it is longer than the model's positions.
    """
    special = tokenizer.special_token_names
    mask = special["mask_token"]
    parts = text.split(mask)
    if len(parts) == 1:
        raise InputError(f"a text to fill must hold {mask} at least once, got {text!r}")
    batch = tokenizer.encode_batch(parts)
    pieces = np.split(batch.token_ids, np.cumsum(batch.row_lengths)[:-1])
    ids = [tokenizer.token_to_id(special["start_token"])]
    positions = []
    for index, piece in enumerate(pieces):
        if index:
            positions.append(len(ids))
            ids.append(tokenizer.token_to_id(mask))
        ids.extend(piece.tolist())
    ids.append(tokenizer.token_to_id(special["end_token"]))
    if len(ids) > max_sequence_length:
        raise InputError(
            f"a text must be at most {max_sequence_length} tokens for this model, got {len(ids)}; shorten it"
        )
    return ids, positions


def fill_mask(task: BertMaskedLM, tokenizer: Tokenizer, text: str, top_k: int = 5) -> list[list[Guess]]:
    """For each mask of `text`, in order, the `top_k` likeliest pieces that are no special tokens."""
    if not 1 <= top_k <= tokenizer.vocabulary_size():
        raise InputError(f"top_k must be from 1 to the {tokenizer.vocabulary_size()} pieces, got {top_k}")
    ids, positions = encode_with_masks(text, tokenizer, task.backbone.max_sequence_length)
    batch: dict[str, Any] = {
        "token_ids": np.array([ids], np.int32),
        "padding_mask": np.ones((1, len(ids)), np.int32),
        "mask_positions": np.array([positions], np.int32),
    }
    logits = np.asarray(task.masked_logits(batch), np.float64)[0]
    logits[:, sorted(set(map(tokenizer.token_to_id, tokenizer.special_token_names.values())))] = -np.inf
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return [
        [Guess(tokenizer.id_to_token(int(token_id)), float(row[token_id])) for token_id in best]
        for row, best in zip(probabilities, order, strict=True)
    ]
