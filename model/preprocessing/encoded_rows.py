"""Rows of ids in memory without their padding, made into batches of few lengths, and what a model gives for each of them."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clozekit.model.preprocessing.preprocessor import Preprocessor

SHORTEST_BATCH = 32
# Texts that are tokenized together.
_CHUNK_TEXTS = 4096


@dataclass(frozen=True)
class EncodedRows:
    """Rows without their padding, one after the other: token_ids and segment_ids (tokens,), starts (N + 1,)."""

    token_ids: np.ndarray
    segment_ids: np.ndarray
    starts: np.ndarray
    pad_token_id: int
    sequence_length: int
    input_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row (N,)."""
        return np.diff(self.starts)

    def num_full(self) -> int:
        """Rows without any room left: those that were cut, and those that just fit."""
        return int((self.lengths == self.sequence_length).sum())

    def with_inputs(self, names: Collection[str]) -> "EncodedRows":
        """The same rows, whose batches have the inputs of these names too."""
        return dataclasses.replace(self, input_names=tuple(dict.fromkeys([*self.input_names, *names])))

    def batch(self, rows: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """The model's inputs, each int32 (B, length), for the rows of these numbers; length: the smallest of
        `batch_lengths` that holds them if not given."""
        lengths = self.lengths[rows]
        if length is None:
            length = next(size for size in batch_lengths(self.sequence_length) if size >= lengths.max())
        inputs = {
            "token_ids": self.padded(self.token_ids, rows, length, self.pad_token_id),
            "segment_ids": self.padded(self.segment_ids, rows, length, 0),
            "padding_mask": (np.arange(length)[None, :] < lengths[:, None]).astype(np.int32),
        }
        return {name: inputs[name] for name in self.input_names}

    def padded(self, values: np.ndarray, rows: np.ndarray, length: int, padding: int) -> np.ndarray:
        """int32 (B, length): `values`, one a token (tokens,), of the rows of these numbers."""
        places = np.arange(length)[None, :]
        real = places < self.lengths[rows][:, None]
        index = np.where(real, self.starts[:-1][rows][:, None] + places, 0)
        return np.where(real, values[index], padding).astype(np.int32)

    def outputs(self, compute: Callable[[dict[str, np.ndarray]], np.ndarray], batch_size: int) -> np.ndarray:
        """What `compute` gives for every row: of one output a row, (B, C), float32 (N, C), of one a token, (B, T, C), float32
        (tokens, C). Rows of one length are computed together."""
        order = np.argsort(self.lengths, kind="stable")
        found = np.zeros((0, 0), np.float32)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            # The last batch is filled up with its first row: one shape, one compilation.
            filled = np.concatenate([places, np.full(batch_size - len(places), places[0])])
            values = compute(self.batch(filled))[: len(places)]
            if start == 0:
                found = np.empty((len(self) if values.ndim == 2 else self.starts[-1], values.shape[-1]), np.float32)
            if values.ndim == 2:
                found[places] = values
            else:
                for place, value in zip(places, values, strict=True):
                    found[self.starts[place] : self.starts[place + 1]] = value[: self.lengths[place]]
        return found


def batch_lengths(sequence_length: int) -> list[int]:
    """Lengths that batches have: few, because each is compiled; 32 and its doubles."""
    lengths = [SHORTEST_BATCH]
    while lengths[-1] < sequence_length:
        lengths.append(2 * lengths[-1])
    return [*lengths[:-1], sequence_length]


def rows_of(
    token_ids: Sequence[np.ndarray], segment_ids: Sequence[np.ndarray], preprocessor: Preprocessor
) -> EncodedRows:
    """Rows as they are given, special tokens included, as `preprocessor` would name and pad them."""
    names = ("token_ids", "segment_ids", "padding_mask") if preprocessor.has_segments else ("token_ids", "padding_mask")
    nothing = np.zeros(0, np.int32)
    return EncodedRows(
        np.concatenate([nothing, *token_ids]).astype(np.int32),
        np.concatenate([nothing, *segment_ids]).astype(np.int8),
        np.cumsum([0, *map(len, token_ids)]),
        preprocessor.tokenizer.pad_token_id,
        preprocessor.sequence_length,
        names,
    )


def encode_rows(texts: Sequence[str], pairs: Sequence[str], preprocessor: Preprocessor) -> EncodedRows:
    """A row a text, or a text and its pair; each is tokenized once, by the preprocessor that the preset will hold."""
    token_ids, segment_ids = [], []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        first, second = (list(part[start : start + _CHUNK_TEXTS]) for part in (texts, pairs))
        rows, _ = preprocessor.rows((first, second) if second else first)
        real = rows["padding_mask"].numpy() > 0
        ends = np.cumsum(real.sum(axis=1))[:-1]
        token_ids += np.split(rows["token_ids"].numpy()[real], ends)
        segment_ids += np.split(rows["segment_ids"].numpy()[real], ends)
    return rows_of(token_ids, segment_ids, preprocessor)
