"""Reading a JSON file that somebody else may have written: an object, or one line that says what is wrong."""

import json
from pathlib import Path
from typing import Any

from clozekit.tokenizers.errors import InputError


def parse_object(text: str | bytes, named: str) -> dict[str, Any]:
    """The object that a JSON text holds. Raises InputError, calling the file `named`, for anything else."""
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise InputError(f"{named} must be JSON, its lists and objects are nested too deeply; copy it again") from error
    # What is no UTF-8 is a ValueError too.
    except ValueError as error:
        raise InputError(f"{named} must be JSON, it is damaged ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{named} must hold a JSON object, it holds {type(content).__name__}; copy it again")
    return content


def read_object(path: Path, named: str) -> dict[str, Any]:
    """`parse_object` of a file."""
    return parse_object(path.read_bytes(), named)
