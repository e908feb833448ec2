"""What no machine can hold is refused before anything is allocated: a model or a batch out of all proportion."""

import os
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from clozekit.model.common.tensors import Settings
from clozekit.model.families.vocabulary_padding import padded_size
from clozekit.model.masking.masking_rule import num_predictions
from clozekit.model.training.flops import Dimensions, teacher_memory, training_memory
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.model.training.stages import Stage
from clozekit.tokenizers.common.errors import InputError

# Of the largest accelerator there is (288 GB), with room for the next one.
_ACCELERATOR_BYTES = 512 * 10**9
# Token ids, segments, masks, positions and weights of a row, 4 bytes each, at the least.
_BYTES_A_PLACE = 20


def machine_bytes() -> int:
    """The memory of this machine, or what its container may use of it."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    return min(found, int(text)) if text.isdecimal() else found


def device_bytes() -> int:
    """More than a device of this machine has."""
    accelerators = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU")
    return max(machine_bytes(), _ACCELERATOR_BYTES) if accelerators else machine_bytes()


def num_parameters(sizes: Dimensions, num_layers: int, num_positions: int) -> int:
    """Parameters of a backbone, but for biases and norms. num_layers: those with weights of their own."""
    hidden, embedding = sizes.hidden_dim, sizes.embedding_dim
    layer = 4 * hidden * hidden + sizes.feedforward_matrices * hidden * sizes.intermediate_dim
    return (sizes.vocabulary_size + num_positions) * embedding + embedding * hidden + num_layers * layer


def check_run_fits(
    config: RunSettings,
    backbone: Settings,
    row_length: int,
    stages: Sequence[Stage],
    num_replicas: int,
    workers: int,
    teacher: Settings | None = None,
) -> None:
    """Raises InputError, with the numbers, for a run that can't fit. Estimates too low pass: it is no promise. backbone, teacher:
    constructor arguments of their backbones."""
    masking, multiple = config.masking, config.model.vocabulary_multiple
    slots = masking.num_slots or num_predictions(row_length, max(stage.mask_rate for stage in stages))
    if slots > row_length:
        raise InputError(
            f"masking.num_slots must be at most the tokens of a row, got {slots} for rows of {row_length}; leave it out for"
            " as many as masking.train_rate can ask for"
        )
    sizes = Dimensions.of_settings({**backbone, "vocabulary_size": padded_size(backbone["vocabulary_size"], multiple)})
    taught = None if teacher is None else Dimensions.of_settings(teacher)
    _check(
        num_parameters(sizes, _distinct_layers(backbone), _num_positions(backbone)) * 16
        + (0 if teacher is None or taught is None else _weights_bytes(taught, teacher)),
        device_bytes(),
        "a model must fit into memory: its weights, gradients and the optimizer's state"
        f"{'' if teacher is None else ', and the weights of its teacher,'} need",
        "lower model.num_layers, hidden_dim, intermediate_dim or vocabulary_multiple",
    )
    batch = max(stage.global_batch_size for stage in stages)
    _check(
        batch * row_length * _BYTES_A_PLACE // workers,
        machine_bytes(),
        f"a batch must fit into memory: {batch:,} rows of {row_length} tokens need",
        "lower train.global_batch_size",
    )
    rows = max((stage.micro_batch_size or stage.global_batch_size // num_replicas) for stage in stages)
    value_bytes = 4 if config.train.precision == "float32" else 2
    advice = "lower train.micro_batch_size or train.global_batch_size, or set train.recompute=true"
    check_step_fits(sizes, rows, row_length, slots, value_bytes, advice, taught, config.train.recompute)


def _distinct_layers(backbone: Settings) -> int:
    """Layers with weights of their own."""
    groups = backbone.get("num_groups")
    return int(backbone["num_layers"] if groups is None else groups * backbone.get("num_inner_repetitions", 1))


def _weights_bytes(sizes: Dimensions, backbone: Settings) -> int:
    return 4 * num_parameters(sizes, _distinct_layers(backbone), _num_positions(backbone))


def _num_positions(backbone: Settings) -> int:
    """Rows of the table of positions."""
    if "bucket_size" in backbone:
        return 2 * Dimensions.of_settings(backbone).span
    return 0 if "global_rope_base" in backbone else int(backbone["max_sequence_length"])


def check_step_fits(
    sizes: Dimensions,
    rows: int,
    row_length: int,
    num_slots: int,
    value_bytes: int,
    advice: str,
    teacher: Dimensions | None = None,
    is_recomputed: bool = False,
) -> None:
    """Raises InputError when the rows that a device computes at once can't fit into twice its memory."""
    needed = training_memory(sizes, 0, rows, row_length, num_slots, value_bytes, is_recomputed).activations
    if teacher is not None:
        needed += teacher_memory(teacher, 0, rows, row_length, num_slots, value_bytes)
    # Compilers keep less than the formula says by fusing: what is refused is far above.
    _check(
        needed // 2,
        device_bytes(),
        f"a step must fit into memory: {rows:,} rows of {row_length} tokens at once need",
        advice,
    )


def _check(needed: int, there: int, what: str, advice: str) -> None:
    if needed > there:
        raise InputError(f"{what} at least {needed / 1e9:,.1f} GB, there are {there / 1e9:,.1f} GB; {advice}")
