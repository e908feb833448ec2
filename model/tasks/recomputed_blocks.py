"""Encoder blocks whose inner values are made anew for the backward pass, and not kept from the forward one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

from clozekit.model.common.tensors import Tensor
from clozekit.model.tasks.dropout_states import dropout_states

_IS_ON = ContextVar("blocks are recomputed", default=False)


@contextmanager
def recomputed_blocks(is_on: bool = True) -> Iterator[None]:
    """Within it a gradient on TensorFlow keeps of each block its inputs alone, for one forward pass more.

    Dropout drops the same values in both passes. It needs a `keras.StatelessScope`, as the trainer's step has one: what
    assigns to variables can't be done twice.

    Source: Chen et al. 2016 (arXiv 1604.06174), section 4.
    """
    token = _IS_ON.set(is_on)
    try:
        yield
    finally:
        _IS_ON.reset(token)


def are_recomputed() -> bool:
    """Whether `recomputed_blocks` is on."""
    return _IS_ON.get()


def through_block(block: keras.layers.Layer, hidden: Tensor, *shared: Tensor, **others: Any) -> Tensor:
    """`block(hidden, *shared, **others)`, whose values are kept or not; hidden: (B, T, H). Of others no gradient is made."""
    return _through_again(block, hidden, *shared, **others) if _IS_ON.get() else block(hidden, *shared, **others)


def _through_again(block: keras.layers.Layer, hidden: Tensor, *shared: Tensor, **others: Any) -> Tensor:
    # Apart: AutoGraph, in a step of somebody's own, can't translate what is in here, and says so.
    import tensorflow as tf

    states = dropout_states(block)
    begins = [(state, state.value) for state in states]
    ends: list[Tensor] = []

    def computed(*values: Tensor) -> Tensor:
        # The backward pass calls it again, when the scope of the forward pass is left.
        with keras.StatelessScope(begins) as scope:
            found = block(*values, **others)
        ends[:] = ends or [scope.get_current_value(state) for state in states]
        return found

    result = tf.recompute_grad(computed)(hidden, *shared)
    for state, end in zip(states, ends, strict=True):
        state.assign(end)
    return result
