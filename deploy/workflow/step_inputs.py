"""What a step reads: where its settings name it, and whether it is there before any step has begun."""

import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from clozekit.deploy.workflow.input_content import names_something
from clozekit.deploy.workflow.references import references_in
from clozekit.deploy.workflow.workflow_file import Step
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.open_preset import open_preset
from clozekit.tokenizers.settings.yaml_values import shown
from clozekit.tokenizers.storage.file_systems import is_url

# Keys whose value may be the name of a built-in preset or tokenizer, or a path into a run.
_MAY_BE_BUILT_IN = ("tokenizer", "init_from", "teacher", "generator", "preset", "sources")
# Nobody asks them for a list of files.
_HANDLES = ("hf://", "kaggle://")


def may_be_built_in(key: str) -> bool:
    """Whether the value of a dotted key may be a name that is no path."""
    return any(part in _MAY_BE_BUILT_IN for part in key.split(".")[-2:])


def find_values(block: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Dotted key -> value of what is there of `keys`; the number of each of a list stands for *."""
    for key in keys:
        yield from _found(block, key.split("."), "")


def _found(place: Any, parts: Sequence[str], prefix: str) -> Iterator[tuple[str, Any]]:
    if not parts:
        if place is not None:
            yield prefix, place
        return
    first, *rest = parts
    prefix = f"{prefix}." if prefix else ""
    if first == "*" and isinstance(place, list | tuple):
        for number, one in enumerate(place):
            yield from _found(one, rest, f"{prefix}{number}")
    elif isinstance(place, Mapping) and first in place:
        yield from _found(place[first], rest, f"{prefix}{first}")


def check_inputs(
    step: Step, block: Mapping[str, Any], known: Collection[str], places: Sequence[str], source: str
) -> None:
    """Raises InputError for a path, a glob or a URL at which nothing is that a step is to read, and for examples without the columns
    that it names.

    block: its settings without references; known: the dotted keys of which all that they name was found. places: where the steps
    before it write. A step that runs elsewhere may read what is there alone, and one behind others by `after` what they write.
    """
    if step.after:
        return

    def is_made(text: str) -> bool:
        return any(text == place or text.startswith(f"{place.rstrip('/')}/") for place in places)

    look_at = step.kind.look_at
    if look_at is not None and not step.where:
        look_at(dict(block), is_made, f"step {step.name} of {source}")
    for key, value in find_values(step.block, step.kind.inputs):
        if key in known or (look_at is not None and key.startswith("data.")):
            continue
        for text in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(text, str) or any(references_in(text)) or text.startswith(_HANDLES) or is_made(text):
                continue
            if not _is_there(key, text) and (is_url(text) or not step.where):
                raise InputError(
                    f"what a step reads must be there, {key} of step {step.name} of {source} is {shown(text)}, where nothing is;"
                    " correct it, or name the step that writes it, as in ${name.output}"
                )


def _is_there(key: str, text: str) -> bool:
    """Of texts that name several, each for itself."""
    if names_something(text):
        return True
    if not may_be_built_in(key) or is_url(text):
        return False
    if os.path.isdir(posixpath.dirname(text)):
        # Into a run: run/best, run/step-500.
        return True
    # In its own words, with the names that are near.
    open_preset(text)
    return True
