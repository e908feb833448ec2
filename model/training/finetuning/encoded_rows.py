"""Labelled texts as rows of ids in memory, in an order that (seed, row) alone decide, in batches of few lengths."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import tensorflow as tf

from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.training.finetuning.labelled_texts import LabelledTexts

# Texts that are tokenized together.
_CHUNK_TEXTS = 4096
SHORTEST_BATCH = 32
# To see which lengths a run needs; a batch beyond them that needs another one takes the next longer.
_MOST_BATCHES_LOOKED_AT = 1000


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

    def batch(self, rows: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """The model's inputs, each int32 (B, length), for the rows of these numbers; length: the smallest of
        `batch_lengths` that holds them if not given."""
        lengths = self.lengths[rows]
        if length is None:
            length = next(size for size in batch_lengths(self.sequence_length) if size >= lengths.max())
        places = np.arange(length)[None, :]
        real = places < lengths[:, None]
        index = np.where(real, self.starts[:-1][rows][:, None] + places, 0)
        inputs = {
            "token_ids": np.where(real, self.token_ids[index], self.pad_token_id).astype(np.int32),
            "segment_ids": np.where(real, self.segment_ids[index], 0).astype(np.int32),
            "padding_mask": real.astype(np.int32),
        }
        return {name: inputs[name] for name in self.input_names}


def batch_lengths(sequence_length: int) -> list[int]:
    """Lengths that batches have: few, because each is compiled; 32 and its doubles."""
    lengths = [SHORTEST_BATCH]
    while lengths[-1] < sequence_length:
        lengths.append(2 * lengths[-1])
    return [*lengths[:-1], sequence_length]


def encode_rows(examples: LabelledTexts, preprocessor: Preprocessor) -> EncodedRows:
    """Tokenizes each text once, by the preprocessor that the preset will hold."""
    token_ids, segment_ids, lengths = [], [], []
    for start in range(0, len(examples), _CHUNK_TEXTS):
        texts, pairs = (list(part[start : start + _CHUNK_TEXTS]) for part in (examples.texts, examples.pairs))
        rows, _ = preprocessor.rows((texts, pairs) if pairs else texts)
        real = rows["padding_mask"].numpy() > 0
        token_ids.append(rows["token_ids"].numpy()[real])
        segment_ids.append(rows["segment_ids"].numpy()[real].astype(np.int8))
        lengths.append(real.sum(axis=1))
    names = ("token_ids", "segment_ids", "padding_mask") if preprocessor.has_segments else ("token_ids", "padding_mask")
    return EncodedRows(
        np.concatenate(token_ids),
        np.concatenate(segment_ids),
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
        preprocessor.tokenizer.pad_token_id,
        preprocessor.sequence_length,
        names,
    )


def training_rows(num_rows: int, seed: int, first: int, batch_size: int) -> np.ndarray:
    """The row numbers of a batch whose first row is number `first` of all epochs: they follow one another without a gap,
    each in its own order, so every batch is full and a run needs to know nothing but how many rows it has read to go on."""
    epochs = range(first // num_rows, (first + batch_size - 1) // num_rows + 1)
    rows = np.concatenate([_order(num_rows, seed, epoch) for epoch in epochs])
    begin = first - epochs[0] * num_rows
    return rows[begin : begin + batch_size]


def lengths_of_run(rows: EncodedRows, seed: int, batch_size: int, num_batches: int) -> tuple[int, ...]:
    """Those of `batch_lengths` that the batches of a run are computed in, the shortest first: those that its first ones
    need, and the one that holds every row."""
    lengths = batch_lengths(rows.sequence_length)
    needed = [
        rows.lengths[training_rows(len(rows), seed, number * batch_size, batch_size)].max()
        for number in range(min(num_batches, _MOST_BATCHES_LOOKED_AT))
    ]
    return tuple(lengths[place] for place in np.unique(np.searchsorted(lengths, [*needed, rows.lengths.max()])))


def training_batches(
    rows: EncodedRows,
    labels: np.ndarray,
    lengths: tuple[int, ...],
    seed: int,
    first: int,
    batch_size: int,
    worker_index: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """What one worker reads of the global batches from row number `first` on, without end: the model's inputs, int32
    (B, T), labels (B,), and length_bin, int32 (B,): the number of the shortest of `lengths` that holds the whole batch, the
    same for all workers; T is the longest of these."""
    share = batch_size // num_workers

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for start in itertools.count(first, batch_size):
            whole = training_rows(len(rows), seed, start, batch_size)
            number = np.searchsorted(lengths, rows.lengths[whole].max())
            mine = whole[worker_index * share : (worker_index + 1) * share]
            inputs = rows.batch(mine, lengths[-1])
            yield {**inputs, "labels": labels[mine], "length_bin": np.full(share, number, np.int32)}

    signature = {name: tf.TensorSpec([share, lengths[-1]], tf.int32) for name in rows.input_names}
    signature["labels"] = tf.TensorSpec([share], labels.dtype)
    signature["length_bin"] = tf.TensorSpec([share], tf.int32)
    # Two ahead: made while the step before computes.
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


@lru_cache(maxsize=2)
def _order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_rows)
