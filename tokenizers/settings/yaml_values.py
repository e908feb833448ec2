"""YAML texts as plain values: each key once, no bombs of depth or aliases, nothing shared; or one line why not."""

from pathlib import Path
from typing import Any

import yaml

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_url, read_text

# Far above what a person writes: the largest configuration here has about 100 values, 4 deep, in 3 kB.
MAX_BYTES = 4_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key which stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise InputError(f"a key must stand once in its group, {printable(twice)} stands twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises InputError with the reason alone ("it nests more than 50 deep")."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, 0)
        return _unshared(loader.construct_document(node))
    except InputError as error:
        raise InputError(" ".join(str(error).split())) from error
    # What YAML's own values raise: a date of month 13, a whole number of 5,000 digits, a mapping as a key.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, KeyError, AttributeError) as error:
        raise InputError(" ".join(str(error).split())[:300]) from error
    except RecursionError as error:
        raise InputError(f"it nests more than {MAX_DEPTH} deep") from error


def _count(node: Any, known: dict[int, int], depth: int) -> int:
    """Values below a node, with every alias counted as what it stands for."""
    if depth > MAX_DEPTH:
        raise InputError(f"it nests more than {MAX_DEPTH} deep")
    if id(node) in known:
        if known[id(node)] == 0:
            raise InputError("an alias in it stands for itself")
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    for inner in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in inner if isinstance(inner, tuple) else (inner,):
            total += _count(part, known, depth + 1)
            if total > MAX_VALUES:
                raise InputError(f"it holds more than {MAX_VALUES:,} values")
    known[id(node)] = total
    return total


def _unshared(value: Any) -> Any:
    """A copy in which no two places share a mapping: a change of one is not one of the other."""
    if isinstance(value, dict):
        return {key: _unshared(entry) for key, entry in value.items()}
    return [_unshared(entry) for entry in value] if isinstance(value, list) else value


def read_yaml_text(path: str | Path) -> str:
    """The text of a file at a path or URL. Raises what the file system does, UnicodeDecodeError, and InputError for one
    that is no configuration by its size (a device that never ends)."""
    if is_url(path):
        text = read_text(path)
    else:
        with open(path, "rb") as stream:
            text = stream.read(MAX_BYTES + 1).decode("utf-8-sig")
    if len(text) > MAX_BYTES:
        raise InputError(f"it is longer than {MAX_BYTES:,} bytes")
    return text


def printable(name: Any) -> str:
    """A key as it is, or quoted where it would break the line of an error."""
    text = name[:200] if isinstance(name, str) else shown(name)
    return text if text.isprintable() else repr(text)


def shown(value: Any) -> str:
    """What was received, on one line and not longer than a line is."""
    try:
        text = repr(value)
    # A whole number of thousands of digits, which Python does not write out.
    except ValueError:
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= 300 else f"{text[:300]}..."
