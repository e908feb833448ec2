"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685): what it trains of a backbone, and its file.

The files are KerasHub's: it loads those written here, and the other way round.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

from clozekit.tokenizers.common.errors import InputError

SUFFIX = ".lora.h5"
_FACTORS = ("lora_kernel_a", "lora_kernel_b")


def enable_lora(backbone: keras.Model, rank: int, target_layer_names: Sequence[str]) -> None:
    """Freezes a backbone but for the biases of the named layers and factors of this rank, which are added to their kernels.

    Raises InputError, and changes nothing, when the rank is below 1, no layer has such a name or one has factors already.
    """
    if rank < 1:
        raise InputError(f"the rank of LoRA must be at least 1, got {rank}; the paper takes 4 or 8")
    targets = [layer for layer in _flat(backbone) if layer.name in target_layer_names and hasattr(layer, "enable_lora")]
    if not targets:
        raise InputError(
            f"target_layer_names must name layers that take LoRA, such as query, value or feedforward_output_dense, got"
            f" {', '.join(target_layer_names)}; correct it"
        )
    if any(layer.lora_enabled for layer in targets):
        raise InputError("LoRA is enabled for these layers already; load the backbone again for another rank")
    backbone.trainable = True
    for layer in _flat(backbone):
        layer.trainable = False
    for layer in targets:
        layer.trainable = True
        layer.enable_lora(rank)


def save_lora_weights(backbone: keras.Model, path: str | Path) -> None:
    """Writes the factors alone, of a backbone of which `enable_lora` was called."""
    adapted = _adapted(backbone)
    if not adapted:
        raise InputError("there are no LoRA weights to save, no layer has any; call enable_lora(rank) first")
    if not os.fspath(path).endswith(SUFFIX):
        raise InputError(f"the name of a file of LoRA weights must end in {SUFFIX}, got {path}; rename it")
    with h5py.File(path, "w") as file:
        file.create_dataset("lora/vars/rank", data=next(iter(adapted.values())).lora_rank)
        for number, layer in adapted.items():
            for factor in _FACTORS:
                value = keras.ops.convert_to_numpy(getattr(layer, factor))
                file.create_dataset(f"lora/{number}/vars/{factor}", data=value)


def load_lora_weights(backbone: keras.Model, path: str | Path) -> None:
    """Takes the factors of a file; enables LoRA with the file's rank, for its layers, where it is not yet enabled."""
    try:
        with h5py.File(path, "r") as file:
            rank = int(file["lora/vars/rank"][()])
            kept = {
                int(number): {factor: np.asarray(group[f"vars/{factor}"]) for factor in _FACTORS}
                for number, group in file["lora"].items()
                if number != "vars"
            }
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} must hold LoRA weights, it does not ({error}); copy it again") from error
    layers = _numbered(backbone)
    adapted = _adapted(backbone)
    if not adapted and all(number < len(layers) for number in kept):
        enable_lora(backbone, rank, sorted({layers[number].name for number in kept}))
        adapted = _adapted(backbone)
    ranks = {layer.lora_rank for layer in adapted.values()}
    if ranks != {rank} or set(adapted) != set(kept):
        raise InputError(
            f"{path} must hold LoRA weights of rank {', '.join(map(str, sorted(ranks)))} for layers {_listed(adapted)} of this"
            f" backbone, it holds rank {rank} for layers {_listed(kept)}; take the backbone and rank it was made with"
        )
    for number, factors in kept.items():
        for factor, value in factors.items():
            variable = getattr(adapted[number], factor)
            if tuple(variable.shape) != value.shape:
                raise InputError(
                    f"{path} must fit the backbone, {factor} of layer {number} is of shape {value.shape} and not"
                    f" {tuple(variable.shape)}; take the backbone it was made with"
                )
    for number, factors in kept.items():
        for factor, value in factors.items():
            getattr(adapted[number], factor).assign(value)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _flat(backbone: keras.Model) -> list[keras.Layer]:
    return list(backbone._flatten_layers(include_self=False))


def _adapted(backbone: keras.Model) -> dict[int, keras.Layer]:
    """Number -> layer, of those that have factors."""
    layers = enumerate(_numbered(backbone))
    return {number: layer for number, layer in layers if getattr(layer, "lora_enabled", False)}


def _numbered(backbone: keras.Model) -> list[keras.Layer]:
    """The layers with weights in the order by which KerasHub's files number them: names are not unique."""
    layers = [layer for layer in _flat(backbone) if layer.weights]
    for place in [place for place, layer in enumerate(layers) if layer.name == "feedforward_layer_norm"]:
        # Keras lists the last made first, and KerasHub's encoder block makes its norms before its dense layers.
        norms, dense = layers[place : place + 2], layers[place + 2 : place + 4]
        layers[place : place + 4] = [*dense, *norms]
    return layers
