"""Scores of attention by relative positions: of a query with where a key stands, and of a key with where its query stands."""

import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from clozekit.model.common.tensors import Tensor

# No row is longer: tables of distances end here.
_MOST_TOKENS = 2**17


def distance_rows(bucket_size: int | None, max_relative_positions: int) -> np.ndarray:
    """int32 (2 D + 1,): the row of the table of relative positions for each distance from -D to D, query minus key.

    Farther ones have the row of -D or D. Up to half of bucket_size each distance has a row of its own, behind it they share
    rows on a logarithmic scale that ends at max_relative_positions; bucket_size None: each has its own to the end.

    Source: He et al. 2020 (arXiv 2006.03654), equation 3; the buckets are those of the authors' code, which DeBERTa V2 brought.
    """
    if bucket_size is None:
        span = max_relative_positions
        buckets = np.arange(span + 1)
    else:
        span, middle = bucket_size, bucket_size // 2
        buckets = _buckets(middle, span, max_relative_positions)
    distances = np.concatenate([-buckets[:0:-1], buckets])
    return np.clip(distances + span, 0, 2 * span - 1).astype(np.int32)


def _buckets(middle: int, span: int, max_relative_positions: int) -> np.ndarray:
    """The bucket of each distance from 0 on, to the last one that is another than that of all behind it."""
    near = np.arange(middle + 1)
    ratio = (max_relative_positions - 1) / middle
    if ratio <= 1:
        # Rows are so short that each distance has its own.
        return near
    most = middle + 1
    if middle > 1:
        most = math.ceil(middle * ratio ** min((span - middle) / (middle - 1), 1e3 / math.log(ratio))) + 1
    # In float32 and in the order of the authors' code: where a bucket ends is a matter of rounding.
    far = np.arange(middle + 1, min(most, _MOST_TOKENS) + 1).astype(np.float32)
    logs = np.log(far / np.float32(middle)) / np.log(np.float32(ratio))
    return np.concatenate([near, np.ceil(logs * np.float32(middle - 1)).astype(np.int64) + middle])


class RelativeScores(NamedTuple):
    """What is added to the products of queries and keys, of tables that are projected as these are.

    rows: of `distance_rows`. position_keys: (n, R, d), multiplied with queries (content to position); position_queries: (n, R, d),
    scaled, multiplied with keys (position to content); None: that part is left out.

    Each product of a token with all distances is shifted so that a column is a key, which needs no look-up for each pair of
    tokens and, in the backward pass, no sum over scattered places.
    """

    rows: np.ndarray
    position_keys: Tensor | None
    position_queries: Tensor | None

    def tables(self) -> tuple[Tensor, ...]:
        """Those there are."""
        return tuple(table for table in self[1:] if table is not None)

    def with_tables(self, tables: tuple[Tensor, ...]) -> "RelativeScores":
        """The same with others in the place of `tables()`."""
        new = list(tables)
        return RelativeScores(self.rows, *(None if table is None else new.pop(0) for table in self[1:]))

    def of(self, query: Tensor, key: Tensor, first_query: Tensor | None = None) -> Tensor:
        """(B, n, Q, K) of a scaled query (B, n, Q, d) and key (B, n, K, d); first_query: where the queries begin among the keys,
        of which there are then a known number; None: they are those of all keys."""
        num_keys = _length(key)
        num_queries = num_keys if first_query is None else _length(query)
        begin: Any = 0 if first_query is None else first_query
        parts = []
        if self.position_keys is not None:
            columns = ops.arange(num_queries + num_keys - 1, dtype="int32")
            table = self._rows(self.position_keys, begin + num_queries - 1 - columns)
            parts.append(_shifted(ops.einsum("bnqd,ncd->bnqc", query, table), num_keys))
        if self.position_queries is not None:
            columns = ops.arange(2 * num_queries - 1, dtype="int32") + begin - (num_queries - 1)
            of_all = self._of_all if first_query is None else self._in_blocks
            parts.append(ops.swapaxes(of_all(self.position_queries, key, columns, num_queries), 2, 3))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def _of_all(self, table: Tensor, key: Tensor, distances: Tensor, num_queries: Tensor | int) -> Tensor:
        """(B, n, K, Q), Q being K."""
        products = ops.einsum("bnkd,ncd->bnkc", key, self._rows(table, distances))
        return _shifted(products, num_queries)

    def _in_blocks(self, table: Tensor, key: Tensor, distances: Tensor, num_queries: int) -> Tensor:
        """(B, n, K, Q), keys in blocks of Q: of all distances of a key few are those of a query."""
        num_keys, size = key.shape[2], key.shape[3]
        num_blocks = -(-num_keys // num_queries)
        key = ops.pad(key, [[0, 0], [0, 0], [0, num_blocks * num_queries - num_keys], [0, 0]])
        batch, heads = ops.shape(key)[:2]
        blocks = ops.reshape(key, (batch, heads * num_blocks, num_queries, size))
        begins = ops.arange(num_blocks, dtype="int32") * num_queries
        places = ops.reshape(ops.expand_dims(distances, 0) - ops.expand_dims(begins, 1), (-1,))
        of_blocks = (heads * num_blocks, 2 * num_queries - 1, size)
        rows = ops.reshape(self._rows(table, places), of_blocks)
        scores = _shifted(ops.einsum("bmkd,mcd->bmkc", blocks, rows), num_queries)
        return ops.reshape(scores, (batch, heads, num_blocks * num_queries, num_queries))[:, :, :num_keys]

    def _rows(self, table: Tensor, distances: Tensor) -> Tensor:
        """(n, C, d): the row of each distance, query minus key."""
        most = len(self.rows) // 2
        places = ops.clip(distances, -most, most) + most
        return ops.take(table, ops.take(ops.convert_to_tensor(self.rows), places), axis=1)


def _length(sequence: Tensor) -> Any:
    """A number where it is known, else a tensor."""
    return sequence.shape[2] if sequence.shape[2] is not None else ops.shape(sequence)[2]


def _shifted(products: Tensor, num_columns: Tensor | int) -> Tensor:
    """(B, n, R, R + C - 1) -> (B, n, R, C): row r from its column R - 1 - r on.

    Source: Dai et al. 2019 (arXiv 1901.02860), appendix B.
    """
    batch, heads, num_rows, width = ops.shape(products)
    flat = ops.reshape(ops.pad(products, [[0, 0], [0, 0], [0, 0], [0, 1]]), (batch, heads, -1))
    flat = flat[:, :, num_rows - 1 : num_rows - 1 + num_rows * width]
    return ops.reshape(flat, (batch, heads, num_rows, width))[:, :, :, :num_columns]
