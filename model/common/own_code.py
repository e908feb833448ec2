"""Functions of the user's own that a configuration names as `module:function`: imported, checked, known by source."""

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError


def is_own(name: str) -> bool:
    """Whether a name is of the user's code, `module:function`; what comes with Clozekit has no colon in its name."""
    return ":" in name


def load_own(key: str, name: str, arguments: Sequence[str]) -> Any:
    """The function that a configuration names `name` under `key`, which is called with so many arguments.

    Modules are found as Python finds them, and in the working directory behind all other places.

    Raises InputError, one line, where there is none or it can't be called so.
    """
    place, _, attribute = name.partition(":")
    folder = os.getcwd()
    if not {"", folder} & {*sys.path}:
        # Last, so that no file there hides a library.
        sys.path.append(folder)
    try:
        module = importlib.import_module(place)
    except Exception as error:
        missing = (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f"{place}.".startswith(error.name + ".")
        )
        reason = "there is no such module" if missing else f"{type(error).__name__}: {_first_line(error)}"
        raise InputError(
            f"{key} must name a function of a module that Python can import, {name} is not ({reason}); start the command in"
            f" the folder of {place.split('.')[0]}.py, or name its folder in PYTHONPATH"
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        raise InputError(
            f"{key} must name a function that is there, {place} has no {attribute}; it is {module.__file__}"
        )
    if not callable(found):
        raise InputError(f"{key} must name a function, {name} is of the type {type(found).__name__}")
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError as error:
        raise InputError(
            f"{key} is called as {attribute}({', '.join(arguments)}), {name} takes {inspect.signature(found)}; change it"
        ) from error
    except ValueError:
        # One that was not written in Python does not say what it takes.
        pass
    return found


def source_sha256(name: str) -> str:
    """The hash of the file that `module:function` is in, hexadecimal; of the module's name where it has no file."""
    place = name.partition(":")[0]
    file = getattr(sys.modules[place], "__file__", None)
    content = place.encode() if file is None else Path(file).read_bytes()
    return hashlib.sha256(content).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
