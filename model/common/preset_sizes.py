"""How large a model a configuration describes: held against the weights, before anything of that size is allocated."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

import h5py

from clozekit.model.common.tensors import Settings
from clozekit.tokenizers.common.errors import InputError

# A model of so many parameters may be built, to say which of its weights is not there.
_SMALL = 10_000_000
# The deepest encoders that were published have a thousand blocks; a million take hours to build, however narrow.
_MOST_BLOCKS = 1000


def least_parameters(settings: Settings, num_classes: int = 0) -> int:
    """Parameters of the matrices alone; a backbone has some more.

    settings: of a backbone that its class has checked; `num_layers` blocks, or with `num_groups` (ALBERT) so many that
    are used again and again.
    """
    hidden = settings["hidden_dim"]
    width = settings.get("embedding_dim", hidden)
    # Rotary positions have no table, and relative ones another.
    without = "global_rope_base" in settings or "bucket_size" in settings
    positions = 0 if without else settings.get("max_sequence_length", 0)
    rows = settings["vocabulary_size"] + positions + settings.get("num_segments", 0)
    blocks = settings["num_layers"]
    if "embedding_dim" in settings:
        blocks = settings.get("num_groups", 1) * settings.get("num_inner_repetitions", 1)
    block = 4 * hidden * hidden + 2 * hidden * settings.get("intermediate_dim", 0)
    return int(rows * width + blocks * block + num_classes * hidden)


def check_blocks(settings: Settings, named: str) -> None:
    """Raises InputError for so many blocks that building them would take hours, however narrow they are."""
    blocks = settings.get("num_groups", 1) * settings.get("num_inner_repetitions", 1)
    applied = settings["num_layers"] * settings.get("num_inner_repetitions", 1)
    if max(blocks, applied) > _MOST_BLOCKS:
        raise InputError(
            f"{named} must describe a model of at most {_MOST_BLOCKS:,} blocks, it describes one of"
            f" {max(blocks, applied):,}; correct it, or copy the preset again"
        )


def check_fits_weights(parameters: int, paths: Iterable[Path], named: str) -> None:
    """Raises InputError when so many parameters can't be in these files: each takes two bytes there, or four."""
    if parameters < _SMALL:
        return
    num_bytes = sum(path.stat().st_size for path in paths)
    # Half of what float16 takes: no file is refused that could be whole.
    if parameters > num_bytes:
        raise InputError(
            f"{named} must describe the model whose weights are beside it, it describes one of at least {parameters:,}"
            f" parameters and the weights take {num_bytes:,} bytes; one of the two is damaged: copy the preset again"
        )


def check_fits_memory(parameters: int, named: str) -> None:
    """Raises InputError when float32 weights would take more than the memory of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 4 * parameters > memory:
        raise InputError(
            f"{named} must describe a model that fits the memory, it describes one of at least {parameters:,} parameters,"
            f" {4 * parameters / 1e9:,.0f} GB, and there are {memory / 1e9:,.0f} GB; take a larger machine, or correct it"
        )


def check_arrays(path: Path, largest: int) -> None:
    """Raises ValueError for an .h5 file with an array of more than `largest` numbers, or with what lies outside of it;
    OSError for one that is none.

    What is read later is compared with the model's shapes; this is before anything is read.
    """
    with h5py.File(path, "r") as file:
        _check_group(file, largest)


def _check_group(group: h5py.Group, largest: int, depth: int = 0) -> None:
    if depth > 100:
        raise ValueError("its groups are nested too deeply")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name!r:.80} is a link, and {name!r:.80} is missing")
        inner = group[name]
        if isinstance(inner, h5py.Group):
            _check_group(inner, largest, depth + 1)
        elif not isinstance(inner, h5py.Dataset) or inner.external or inner.is_virtual:
            raise ValueError(f"{name!r:.80} is not in the file itself")
        elif math.prod(inner.shape or ()) > largest:
            raise ValueError(f"{name!r:.80} is of shape {inner.shape}, larger than any of the model's")
