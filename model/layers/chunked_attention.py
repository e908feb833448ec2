"""Attention of long rows on TensorFlow: a chunk of queries at a time, and never the scores of all with all."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import ops

from clozekit.model.common.long_rows import CHUNK_QUERIES
from clozekit.model.common.one_at_a_time import one_at_a_time
from clozekit.model.common.tensors import Tensor
from clozekit.model.layers.relative_scores import RelativeScores

# What is added to the score of a key that a query may not look at.
FORBIDDEN = -1e9
Gradients = Callable[..., tuple[Tensor, ...]]


class Dropped(NamedTuple):
    """rate: of the probabilities; seed: two integers."""

    rate: float
    seed: Tensor


def chunked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    real: Tensor | None,
    documents: Tensor | None,
    half_window: int | None,
    dropped: Dropped | None = None,
    chunk: int = CHUNK_QUERIES,
    relative: RelativeScores | None = None,
) -> Tensor:
    """softmax(query key^T + relative + mask) value, (B, n, T, d), of which nothing of T x T values is ever held.

    The chunks go one after another, and the backward pass makes the probabilities of each anew: a fifth product, for
    memory that grows with T. With a window only the keys near a chunk are looked at, which is less work too. Numbers and
    dropped probabilities are those of the formula in full, but for the order of sums.

    Args:
        query, key, value: (B, n, T, d), the query scaled; T must be known.
        real: bool (B, T), the keys that all may look at; None: all.
        documents: integers (B, T), a query looks at the keys of its own number alone; None: no documents.
        half_window: how far a query looks to each side; None: to the ends of the row. It looks at itself in any case.
        dropped: dropout of the probabilities; None: none.
        chunk: queries of a chunk.
        relative: scores by relative positions, without a window; None: none.

    Source: Rabe and Staats 2021 (arXiv 2112.05682), section 2; Beltagy et al. 2020 (arXiv 2004.05150), section 3.1.
    """
    length = int(query.shape[2])
    num_chunks = math.ceil(length / chunk)
    behind = num_chunks * chunk - length
    # Keys and their marks stand in a row with so much room in front and behind that each chunk finds all its keys in it.
    front = 0 if half_window is None else half_window
    width = length if half_window is None else chunk + 2 * half_window
    back = 0 if half_window is None else half_window + behind
    precise = keras.backend.result_type(query.dtype, "float32")
    ones = ops.ones((1, length), "bool") if real is None else ops.cast(real, "bool")
    there = ops.pad(ones, [[0, 0], [front, back]]) if front or back else ones
    if documents is not None:
        marks = ops.cast(documents, "int32")
        marks_of_keys = ops.pad(marks, [[0, 0], [front, back]], constant_values=-1)
        marks_of_queries = ops.pad(marks, [[0, 0], [0, behind]], constant_values=-1)

    def padded(sequence: Tensor, before: int, after: int) -> Tensor:
        return ops.pad(sequence, [[0, 0], [0, 0], [before, after], [0, 0]]) if before or after else sequence

    def part(sequence: Tensor, start: Tensor, size: int) -> Tensor:
        return ops.slice(sequence, (0, 0, start, 0), (*ops.shape(sequence)[:2], size, sequence.shape[3]))

    def of_row(marks: Tensor, start: Tensor, size: int) -> Tensor:
        return ops.slice(marks, (0, start), (ops.shape(marks)[0], size))

    def begin_of_keys(start: Tensor) -> Tensor:
        return start * 0 if half_window is None else start

    def bias(start: Tensor) -> Tensor:
        """(B or 1, 1, chunk, width): 0 or FORBIDDEN."""
        begin = begin_of_keys(start)
        allowed = ops.expand_dims(ops.expand_dims(of_row(there, begin, width), 1), 1)
        if documents is not None:
            of_keys = ops.expand_dims(ops.expand_dims(of_row(marks_of_keys, begin, width), 1), 1)
            of_queries = ops.expand_dims(ops.expand_dims(of_row(marks_of_queries, start, chunk), 1), -1)
            allowed = ops.equal(of_queries, of_keys)
        if half_window is not None:
            # Place of a key minus place of its query.
            away = ops.arange(width)[None, :] - ops.arange(chunk)[:, None] - half_window
            near, own = (
                ops.expand_dims(ops.expand_dims(one, 0), 0) for one in (ops.abs(away) <= half_window, away == 0)
            )
            allowed = ops.logical_or(ops.logical_and(allowed, near), own)
        return ops.cast(ops.where(allowed, 0.0, FORBIDDEN), precise)

    def kept(start: Tensor, like: Tensor) -> Tensor:
        """bool (B, n, chunk, width): which probabilities dropout leaves; those of the formula in full at the same places."""
        from clozekit.model.common.hashing import hash_numbers

        rows, heads = ops.shape(like)[:2]
        of_rows = ops.arange(rows * heads, dtype="int32")[:, None, None] * length
        queries = start + ops.arange(chunk, dtype="int32")[None, :, None]
        keys = ops.arange(-front, width - front, dtype="int32")[None, None, :] + begin_of_keys(start)
        places = (of_rows + queries) * length + keys
        bits = hash_numbers(dropped.seed, places)  # type: ignore[union-attr]
        return ops.reshape(bits >= round(dropped.rate * 2**31), (rows, heads, chunk, width))  # type: ignore[union-attr]

    def drop(numbers: Tensor, start: Tensor) -> Tensor:
        if dropped is None:
            return numbers
        scale = ops.cast(1 / (1 - dropped.rate), numbers.dtype)
        return ops.where(kept(start, numbers), numbers * scale, ops.zeros((), numbers.dtype))

    def probabilities(queries: Tensor, keys: Tensor, tables: tuple[Tensor, ...], start: Tensor) -> Tensor:
        scores = ops.cast(ops.matmul(queries, ops.swapaxes(keys, 2, 3)), precise)
        if relative is not None:
            scores = scores + ops.cast(relative.with_tables(tables).of(queries, keys, start), precise)
        return ops.softmax(scores + bias(start), axis=-1)

    def of_positions(of_scores: Tensor, inputs: tuple[Tensor, ...], start: Tensor) -> tuple[Tensor, ...]:
        """Gradients of queries, keys and tables through the relative scores."""
        if relative is None:
            return ()
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            scores = relative.with_tables(inputs[2:]).of(inputs[0], inputs[1], start)
        # The keys have none where only queries look for positions, and the other way round.
        return tape.gradient(scores, inputs, of_scores, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    @ops.custom_gradient
    def attended(query: Tensor, key: Tensor, value: Tensor, *tables: Tensor) -> tuple[Tensor, Gradients]:
        queries, keys, values = padded(query, 0, behind), padded(key, front, back), padded(value, front, back)

        def forward(index: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
            start = index * chunk
            begin = begin_of_keys(start)
            weights = probabilities(part(queries, start, chunk), part(keys, begin, width), tables, start)
            mixed = ops.matmul(drop(ops.cast(weights, query.dtype), start), part(values, begin, width))
            return (ops.slice_update(state[0], (0, 0, start, 0), mixed),)

        (result,) = one_at_a_time(num_chunks, forward, (ops.zeros_like(queries),))

        def gradients(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
            of_result = padded(arguments[-1] if upstream is None else upstream, 0, behind)

            def backward(index: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                of_queries, of_keys, of_values, *of_tables = state
                start = index * chunk
                begin = begin_of_keys(start)
                some, near, mixed = part(queries, start, chunk), part(keys, begin, width), part(values, begin, width)
                weights = probabilities(some, near, tables, start)
                change = part(of_result, start, chunk)
                of_mixed = ops.matmul(ops.swapaxes(drop(ops.cast(weights, query.dtype), start), 2, 3), change)
                of_weights = ops.cast(drop(ops.matmul(change, ops.swapaxes(mixed, 2, 3)), start), precise)
                of_scores = weights * (of_weights - ops.sum(weights * of_weights, axis=-1, keepdims=True))
                of_scores = ops.cast(of_scores, query.dtype)
                of_some, of_near = ops.matmul(of_scores, near), ops.matmul(ops.swapaxes(of_scores, 2, 3), some)
                more = of_positions(of_scores, (some, near, *tables), start)
                if more:
                    of_some, of_near = of_some + more[0], of_near + more[1]
                return (
                    ops.slice_update(of_queries, (0, 0, start, 0), of_some),
                    added(of_keys, begin, of_near),
                    added(of_values, begin, of_mixed),
                    *(total + ops.cast(one, precise) for total, one in zip(of_tables, more[2:], strict=True)),
                )

            def added(total: Tensor, begin: Tensor, more: Tensor) -> Tensor:
                more = ops.cast(more, precise)
                if half_window is None:
                    return total + more
                return ops.slice_update(total, (0, 0, begin, 0), part(total, begin, width) + more)

            # Summed over the chunks in full precision, as one product of all would be.
            sums = (ops.zeros_like(one, dtype=precise) for one in (keys, values, *tables))
            of_queries, *found = one_at_a_time(num_chunks, backward, (ops.zeros_like(queries), *sums))
            room = slice(front, front + length)
            of_both = (ops.cast(one[:, :, room], query.dtype) for one in found[:2])
            return of_queries[:, :, :length], *of_both, *(ops.cast(one, query.dtype) for one in found[2:])

        return result[:, :, :length], gradients

    return attended(query, key, value, *(() if relative is None else relative.tables()))
