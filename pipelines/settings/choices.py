"""Fields of settings that are one of a few words, or a list of those: the words stand at the field, and nowhere else."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from clozekit.tokenizers.common.errors import InputError

_CHOICES = "choices"


def choice(default: str | tuple[str, ...], choices: Sequence[str]) -> Any:
    """A field of a dataclass whose value, or each of whose values, is one of the choices."""
    return dataclasses.field(default=default, metadata={_CHOICES: tuple(choices)})


def choices_of(field: dataclasses.Field[Any]) -> tuple[str, ...] | None:
    """The words that a field may hold, None where it may hold anything of its type."""
    metadata: Mapping[str, Any] = field.metadata
    return metadata.get(_CHOICES)


def check_choices(settings: Any, prefix: str = "") -> None:
    """Raises InputError for a field with a word that is none of its choices. prefix: before its name."""
    for field in dataclasses.fields(settings):
        choices, value = choices_of(field), getattr(settings, field.name)
        if choices is not None:
            for word in value if isinstance(value, tuple) else (value,):
                check_choice(prefix + field.name, word, choices)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
