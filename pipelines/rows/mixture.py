"""Mixtures: how often each document of a weighted source is taken."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clozekit.pipelines.rows.split import VALIDATION
from clozekit.pipelines.running.documents import hash64, replace_column
from clozekit.pipelines.running.stage import REJECTS, counts_output, run_stage, side_output
from clozekit.pipelines.settings.prepare_settings import Source


def num_copies(identifier: str, weight: float, seed: int) -> int:
    """How often a document of a source of `weight` is taken: a function of its id, whatever else there is.

    >>> [num_copies(name, 1.5, seed=0) for name in ("a", "b", "c", "d")]
    [2, 2, 1, 2]
    """
    whole = math.floor(weight)
    drawn = hash64(b"weight", seed.to_bytes(8, "little"), identifier.encode())
    return whole + (drawn < (weight - whole) * 2**64)


def batch_copies(documents: pa.RecordBatch, weights: Sequence[float], seed: int) -> np.ndarray:
    ids, sources = documents.column("id").to_pylist(), documents.column("source").to_pylist()
    return np.array(
        [num_copies(identifier, weights[source], seed) for identifier, source in zip(ids, sources, strict=True)],
        np.int64,
    )


def repeat_documents(documents: pa.RecordBatch, copies: np.ndarray) -> pa.RecordBatch:
    """Each document as often as `copies` says; the second copy's id ends in "#2", so that it is packed elsewhere."""
    rows = np.repeat(np.arange(len(copies)), copies)
    repeated = documents.take(pa.array(rows))
    begins = np.cumsum(copies) - copies
    turns = (np.arange(len(rows)) - np.repeat(begins, copies)).tolist()
    ids = [f"{name}#{turn + 1}" if turn else name for name, turn in zip(repeated["id"].to_pylist(), turns, strict=True)]
    return replace_column(repeated, "id", pa.array(ids, pa.string()))


class _Thin(beam.DoFn):
    def __init__(self, sources: Sequence[Source], seed: int, paths: Sequence[str]) -> None:
        self._names = [source.name for source in sources]
        self._weights = [source.weight for source in sources]
        self._seed = seed
        self._paths = paths

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        taken = batch_copies(documents, self._weights, self._seed) > 0
        left_out = documents.filter(pa.array(~taken))
        details = [{"rule": "weight"}] * left_out.num_rows
        yield from side_output(REJECTS, left_out, self._paths, self._names, details, with_text=False)
        yield counts_output({"rejected_weight": left_out.num_rows})
        if taken.any():
            yield documents.filter(pa.array(taken))


class _Repeat(beam.DoFn):
    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self._weights = [source.weight for source in sources]
        self._seed = seed

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        copies = np.maximum(batch_copies(documents, self._weights, self._seed), 1)
        if VALIDATION in documents.schema.names:
            copies[documents.column(VALIDATION).to_numpy(zero_copy_only=False)] = 1
        yield counts_output({"copies_added": int(copies.sum()) - documents.num_rows})
        yield repeat_documents(documents, copies)


class ThinSources(beam.PTransform):
    """Leaves out the documents that a source's weight below 1 does not take."""

    def __init__(self, sources: Sequence[Source], seed: int, paths: Sequence[str]) -> None:
        super().__init__()
        self._work = _Thin(sources, seed, paths)

    def expand(self, documents: Any) -> Any:
        return run_stage(documents, self._work, "Thin")


class RepeatSources(beam.PTransform):
    """Repeats the train documents of sources with a weight above 1; validation has each document once.

    It stands behind deduplication, which would take the copies out again.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        super().__init__()
        self._work = _Repeat(sources, seed)

    def expand(self, documents: Any) -> Any:
        return run_stage(documents, self._work, "Repeat")
