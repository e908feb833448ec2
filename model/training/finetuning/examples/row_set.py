"""The rows of a file with what is to be predicted for them, as batches of a training step."""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clozekit.model.preprocessing.encoded_rows import EncodedRows
from clozekit.model.tasks.token_classifier import NO_CLASS
from clozekit.model.training.objectives.embedding_objective import PAIR


@dataclass(frozen=True)
class RowSet:
    """rows; labels: one value, or an array, a row, (N, ...), or one a token, (tokens,), where is_per_token; None where there
    are none. pairs: the row that belongs to each row, for what compares two texts."""

    rows: EncodedRows
    labels: np.ndarray | None = None
    is_per_token: bool = False
    pairs: EncodedRows | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, or of the longer one of a pair, (N,)."""
        return self.rows.lengths if self.pairs is None else np.maximum(self.rows.lengths, self.pairs.lengths)

    @property
    def sequence_length(self) -> int:
        return self.rows.sequence_length

    def outputs(self, compute: Callable[[dict[str, np.ndarray]], np.ndarray], batch_size: int) -> list[np.ndarray]:
        """What `compute` gives for the rows, as `EncodedRows.outputs` has it, and behind it for their pairs."""
        sides = [self.rows] if self.pairs is None else [self.rows, self.pairs]
        return [side.outputs(compute, batch_size) for side in sides]

    def with_inputs(self, names: Collection[str]) -> "RowSet":
        """The same rows, whose batches have the inputs of these names too."""
        pairs = None if self.pairs is None else self.pairs.with_inputs(names)
        return dataclasses.replace(self, rows=self.rows.with_inputs(names), pairs=pairs)

    def batch(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """The inputs of the rows of these numbers, int32 (B, length), and their labels, (B, ...) or (B, length)."""
        found = self.rows.batch(rows, length)
        if self.pairs is not None:
            found |= {PAIR + name: value for name, value in self.pairs.batch(rows, length).items()}
        if self.labels is not None:
            per_token = self.is_per_token
            found["labels"] = self.rows.padded(self.labels, rows, length, NO_CLASS) if per_token else self.labels[rows]
        return found
