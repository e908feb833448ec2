"""JSON objects that hold the hash of all else they say: whoever reads one knows whether it was changed since."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sha256_of_fields(fields: Mapping[str, Any]) -> str:
    """sha256 of the fields, in whatever order they stand."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def sealed(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The fields, with their own hash under `key`."""
    return {**fields, key: sha256_of_fields(fields)}
