"""`init_from`: a new run that begins with the weights of a preset, of a run or of a checkpoint, and with nothing else."""

from collections.abc import Sequence

import keras
import numpy as np

from clozekit.model.families.vocabulary_padding import close_padding
from clozekit.model.presets.load_presets import PresetSource
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.pooler import has_pooler, is_trained
from clozekit.model.training.join_halves import join_halves
from clozekit.tokenizers.common.errors import InputError


def begin_from(task: MaskedLM, init_from: str, source: PresetSource) -> None:
    """Gives the task, which has the architecture of `source`, the weights there; init_from: how that was named.

    Where the task has more positions and a table of them, row i of its table is row i modulo n of the n that are there (Beltagy et al. 2020,
    arXiv 2004.05150, section 5). Raises InputError when the weights are not there or not whole.
    """
    other = type(task).from_preset(init_from, compile=False)
    _give_weights(task, other, source.source)
    if task.generator is not None and other.generator is None:
        # A fresh generator, whose embeddings begin as the discriminator's.
        task.begin_embeddings(task.backbone)


def begin_from_halves(task: MaskedLM, init_from: str, generator: str) -> str | None:
    """Gives the task, which has the sizes of both, the weights of the discriminator in `init_from` and of a generator of its own.

    Returns a line about embeddings that are not the same in the two. Raises InputError when the weights are not there or not whole.
    """
    halves = join_halves(init_from, generator, task.is_disentangled)
    left_out: list[keras.Layer] = []
    body = halves.task.backbone
    has_fresh_pooler = hasattr(body, "pooled_dense") and not (body.has_loaded_pooler or is_trained(body))
    for one in (task, halves.task):
        # What did not come along: a head, and a pooler that nobody trained. The run's own are the same in every start.
        left_out += [] if halves.has_head or one.detection_head is None else [one.detection_head]
        left_out += [one.backbone.pooled_dense] if has_fresh_pooler else []
    _give_weights(task, halves.task, f"{init_from} with {generator}", left_out)
    if not halves.others:
        return None
    return (
        f"the embeddings of {generator} are not those of {init_from} ({', '.join(halves.others)}); from here on both models have"
        f" those of {init_from}; replaced.disentangled=true keeps both"
    )


def _give_weights(task: MaskedLM, other: MaskedLM, named: str, left_out: Sequence[keras.Layer] = ()) -> None:
    """Gives the task the weights of another, but for those of `left_out`; named: where the others are from."""
    task.backbone.has_loaded_pooler = other.backbone.has_loaded_pooler
    ours, theirs = _shared_weights(task, other, left_out), _shared_weights(other, task, left_out)
    size, positions = other.backbone.vocabulary_size, task.position_tables()
    for target, given in zip(ours, theirs, strict=True):
        value = np.asarray(keras.ops.convert_to_numpy(given))
        if any(target is one for one in positions):
            value = value[np.arange(target.shape[0]) % len(value)]
        elif value.shape != tuple(target.shape):
            value = np.concatenate([value, np.zeros((target.shape[0] - size, *value.shape[1:]), value.dtype)])
        if value.shape != tuple(target.shape):
            raise InputError(
                f"init_from must hold weights of the shapes it describes, {named} has {value.shape} for"
                f" {target.path}, which is {tuple(target.shape)}; copy it again"
            )
        target.assign(value)
    close_padding(task, size)


def _shared_weights(task: MaskedLM, other: MaskedLM, without: Sequence[keras.Layer]) -> list[keras.Variable]:
    """The weights of a task, but for those of some layers, a generator and the heads where another has none, its head of pairs where
    another has none, and but for a pooler that it needs and nobody trained: the run's own is the same in every start."""
    left_out: list[keras.Variable] = [weight for layer in without for weight in layer.weights]
    if (task.generator is None) != (other.generator is None):
        # What is there becomes the discriminator's body.
        kept = {id(weight) for weight in task.backbone.weights}
        left_out += [weight for weight in task.weights if id(weight) not in kept]
    if task.pair_head is not None and other.pair_head is None:
        left_out += task.pair_head.weights
    needed = any(one.pair_head is not None for one in (task, other))
    if needed and not (has_pooler(task.backbone) or has_pooler(other.backbone)):
        left_out += task.backbone.pooled_dense.weights
    passed_over = {id(weight) for weight in left_out}
    # Of a task with a generator the backbone's stand in another order.
    ordered = {id(weight): weight for weight in [*task.backbone.weights, *task.weights]}.values()
    return [weight for weight in ordered if id(weight) not in passed_over]
