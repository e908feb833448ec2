"""What a file says for a constructor: each value must be of the type that the constructor names, and within its range.

Nothing else ever reaches one: no dict that would describe code, no number that would take all memory.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError

# Of whole numbers without a range of their own; larger ones are no sizes of anything.
_MOST = 2**31 - 1
# By the beginning or end of a name: the smallest and the largest value.
_WHOLE_FROM_ONE = ("num_", "vocabulary_size", "hidden_dim", "intermediate_dim", "embedding_dim", "sequence_length")
_SHARES = ("dropout", "_rate")
# Of the rows of a batch, which are allocated whole.
_MOST_TOKENS = 1 << 20
_LENGTHS_OF_ROWS = ("sequence_length", "mask_selection_length")
# What the loader itself gives a constructor: never said by a file.
_PARTS = {
    "backbone",
    "preprocessor",
    "tokenizer",
    "inputs",
    "outputs",
    "settings",
    "compile",
    "name",
    "trainable",
    "dtype",
    "embeddings",
}


def check_arguments(cls: type, settings: Mapping[str, Any], named: str) -> None:
    """Raises InputError, which names the file as `named`, for a setting that `cls` does not know, or of another type or
    out of its range."""
    parameters = constructor_parameters(cls)
    unknown = sorted(set(settings) - (set(parameters) - _PARTS))
    if unknown:
        raise InputError(
            f"{named} must hold settings of {cls.__name__}, it has {', '.join(unknown)} too; a newer version of the library"
            " may have written it"
        )
    for name, value in settings.items():
        problem = problem_of(name, value, parameters[name])
        if problem is not None:
            raise InputError(
                f"{named}: {name} must be {problem}, got {value!r:.80}; copy the file again, or correct it"
            )


def constructor_parameters(cls: type) -> dict[str, Any]:
    """Name -> type of every constructor argument of a class of ours, those of its bases included."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is not None and base.__module__.startswith("clozekit."):
            for parameter in inspect.signature(constructor, eval_str=True).parameters.values():
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "self":
                    found.setdefault(parameter.name, parameter.annotation)
    return found


def problem_of(name: str, value: Any, annotation: Any) -> str | None:
    """What a value must be, where it is not; None where it is."""
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if value is None:
        return None if types.NoneType in kinds else "given"
    if int in kinds or float in kinds:
        return _problem_of_number(name, value, is_whole=float not in kinds)
    if bool in kinds:
        return None if isinstance(value, bool) else "true or false"
    if str in kinds and not any(typing.get_origin(kind) for kind in kinds):
        return None if isinstance(value, str) else "a string"
    if any(typing.get_origin(kind) is Callable for kind in kinds):
        # A function, which a file can only name.
        return None if isinstance(value, str) else "a name"
    sequences = [kind for kind in kinds if typing.get_origin(kind) is not None]
    if sequences and isinstance(value, list | tuple):
        return None if all(isinstance(one, str) for one in value) else "a list of strings"
    if isinstance(value, str | Path) and {str, Path} & set(kinds):
        return None
    return "a list of strings" if sequences else "of another type"


def _problem_of_number(name: str, value: Any, is_whole: bool) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int if is_whole else (int, float)):
        return "a whole number" if is_whole else "a number"
    if not math.isfinite(value):
        return "a finite number"
    if is_whole:
        low = 1 if name.startswith(_WHOLE_FROM_ONE) or name.endswith(_WHOLE_FROM_ONE) else 0
        most = _MOST_TOKENS if name in _LENGTHS_OF_ROWS else _MOST
        return None if low <= value <= most else f"from {low} to {most}"
    if name.endswith("epsilon"):
        return None if 0 < value < 1 else "above 0 and below 1"
    if name.endswith(_SHARES):
        return None if 0 <= value <= 1 else "from 0 to 1"
    return None
