"""Settings in YAML files: the mapping in one, or one line that says why there is none."""

from pathlib import Path
from typing import Any

import yaml

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import read_text, reason_of


def read_mapping(path: str | Path, what: str = "a configuration", of: str = "keys to values") -> dict[str, Any]:
    """The mapping in the file at a path or URL. what, of: what it should be, in the words of the error.

    Raises InputError when it can't be read, is no YAML or holds something else.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what} must be a readable YAML file, {path} is not ({reason_of(error)})") from error
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{what} must be YAML, {path} is not: {' '.join(str(error).split())}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{what} must be a mapping of {of}, {path} holds {type(fields).__name__}")
    return fields
