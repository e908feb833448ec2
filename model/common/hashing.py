"""Random numbers in the graph as hashes: pure functions of what they are for, the same on every device and version."""

from collections.abc import Callable

import tensorflow as tf

_GOLDEN = 0x9E3779B1


def _mixed(x: tf.Tensor) -> tf.Tensor:
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    x *= tf.constant(0x85EBCA6B, tf.uint32)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(13, tf.uint32)))
    x *= tf.constant(0xC2B2AE35, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))


def _traced_once(*dtypes: tf.DType) -> Callable[[Callable[..., tf.Tensor]], Callable[..., tf.Tensor]]:
    """For a function of tensors of any shape: traced once in a process, and a single operation of each graph that calls it.

    Readers call them thirty times, a model at each dropout, and to trace them was a sixth of all operations of a small run.
    """
    signature = [tf.TensorSpec(None, dtype) for dtype in dtypes]
    return lambda function: tf.function(function, input_signature=signature, autograph=False)


_fmix32_once = _traced_once(tf.uint32)(_mixed)


def fmix32(x: tf.Tensor) -> tf.Tensor:
    """The finaliser of MurmurHash3 (Appleby, public domain) on uint32."""
    return _of_shape(_fmix32_once(x), x.shape)


def _of_shape(value: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """`value` of a static shape: what was traced for any shape says nothing of this one."""
    value.set_shape(shape)
    return value


def row_keys(row_ids: tf.Tensor, epoch: tf.Tensor, seed: int, streams: tuple[int, ...]) -> list[tf.Tensor]:
    """uint32 (B,) for each stream: what the random bits of a row's positions are drawn from; row_ids: int64 (B,), epoch: one
    or (B,)."""
    rows = tf.bitcast(tf.cast(row_ids, tf.int64), tf.uint32)  # (B, 2): lower and upper half
    seeds = [[(seed * _GOLDEN + stream * 0x7FEB352D) & 0xFFFFFFFF] for stream in streams]
    epochs = tf.broadcast_to(tf.cast(epoch, tf.uint32), tf.shape(rows)[:1]) * tf.constant(0x846CA68B, tf.uint32)
    # All streams at once: so few numbers take as long as their operations take to start.
    keys = fmix32(tf.bitwise.bitwise_xor(epochs, tf.constant(seeds, tf.uint32)))
    keys = fmix32(tf.bitwise.bitwise_xor(rows[:, 0], keys))
    return tf.unstack(
        fmix32(tf.bitwise.bitwise_xor(rows[:, 1] * tf.constant(0xC2B2AE3D, tf.uint32), keys)), len(streams)
    )


def hash_positions(keys: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """31 random bits (int32, 0 or more) for each position: a function of the row's key and the position alone.

    keys: uint32 (B,); positions: int32 (B, M) or (1, M). Returns (B, M).
    """
    shape = tf.broadcast_static_shape(positions.shape, tf.TensorShape([*keys.shape, 1]))
    return _of_shape(_hash_positions_once(keys, positions), shape)


@_traced_once(tf.uint32, tf.int32)
def _hash_positions_once(keys: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    keys = tf.expand_dims(keys, -1)
    places = tf.cast(positions, tf.uint32) * tf.constant(_GOLDEN, tf.uint32)
    mixed = _mixed(_mixed(keys + places) + keys)
    return tf.cast(tf.bitwise.right_shift(mixed, tf.constant(1, tf.uint32)), tf.int32)


def hash_places(seed: tf.Tensor, rows: int | tf.Tensor, columns: int | tf.Tensor) -> tf.Tensor:
    """`hash_numbers` of the places of a table of so many rows and columns, counted row by row; (rows, columns).

    Of rows and of columns apart: XLA would keep a range of all places in the program, 4 bytes for each value of a tensor.
    """
    begins, columns_of_row = (tf.range(rows) * columns)[:, None], tf.range(columns)[None, :]
    shape = tf.broadcast_static_shape(begins.shape, columns_of_row.shape)
    return _of_shape(_hash_sums_once(tf.cast(seed, tf.uint32), begins, columns_of_row), shape)


def hash_numbers(seed: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """31 random bits (int32, 0 or more) for each of the places, int32 of any shape; seed: two integers.

    One round, with half of the key before and half inside it: enough to drop units by, and cheap where XLA fuses it.
    """
    return _of_shape(_hash_sums_once(tf.cast(seed, tf.uint32), places, tf.constant(0)), places.shape)


@_traced_once(tf.uint32, tf.int32, tf.int32)
def _hash_sums_once(seed: tf.Tensor, begins: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Of the sums of two, of shapes that go together."""
    upper, lower = tf.unstack(seed, 2)
    first = _mixed(upper + _mixed(lower + tf.constant(_GOLDEN, tf.uint32)))
    second = _mixed(first + lower)
    golden = tf.constant(_GOLDEN, tf.uint32)
    # The key first: what is known before the program runs would be added up there, and kept.
    x = (tf.cast(begins, tf.uint32) * golden + first) + tf.cast(places, tf.uint32) * golden
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    x = tf.bitwise.bitwise_xor(x * tf.constant(0x85EBCA6B, tf.uint32), second)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(13, tf.uint32)))
    x *= tf.constant(0xC2B2AE35, tf.uint32)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    return tf.cast(tf.bitwise.right_shift(x, tf.constant(1, tf.uint32)), tf.int32)


def hash_rows(token_ids: tf.Tensor) -> tf.Tensor:
    """int64 (B,): a fingerprint of each row of ids (B, T) and of its place in the batch, in place of a row number."""
    ids = tf.bitcast(token_ids, tf.uint32)
    places = tf.cast(tf.range(tf.shape(ids)[1]), tf.uint32) * tf.constant(_GOLDEN, tf.uint32)
    mixed = fmix32(fmix32(ids + places[None, :]) + tf.constant(0x7FEB352D, tf.uint32))
    # tf has no sum of uint32 on every device: sums of int32 wrap alike.
    summed = tf.reduce_sum(tf.bitcast(mixed, tf.int32), axis=1)
    order = tf.range(tf.shape(ids)[0])
    return tf.bitcast(tf.stack([summed, order], axis=1), tf.int64)


def random_order(size: int | tf.Tensor, seed: int, epoch: int | tf.Tensor, part: int | tf.Tensor) -> tf.Tensor:
    """int32 (size,): 0 to size - 1 in an order that (seed, epoch, part) decides; epoch and part: integers."""
    key = tf.constant((seed * _GOLDEN + (seed >> 32) * 0x846CA68B) & 0xFFFFFFFF, tf.uint32)
    order = _random_order_once(size, key, tf.cast(epoch, tf.int64), tf.cast(part, tf.int64))
    return _of_shape(order, tf.TensorShape([size if isinstance(size, int) else None]))


@_traced_once(tf.int32, tf.uint32, tf.int64, tf.int64)
def _random_order_once(size: tf.Tensor, key: tf.Tensor, epoch: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    key = _mixed(key)
    for number in (epoch, part):
        lower, upper = tf.unstack(tf.bitcast(number, tf.uint32), 2)
        key = _mixed(tf.bitwise.bitwise_xor(_mixed(tf.bitwise.bitwise_xor(key, lower)), upper))
    places = tf.cast(tf.range(size), tf.uint32) * tf.constant(_GOLDEN, tf.uint32)
    mixed = _mixed(_mixed(places + key) + key)
    return tf.argsort(tf.cast(tf.bitwise.right_shift(mixed, tf.constant(1, tf.uint32)), tf.int32), stable=True)
