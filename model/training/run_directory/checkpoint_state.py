"""The state file of a checkpoint: JSON with a checksum over all of it, held against its schema on every reading."""

import json
import re
from collections.abc import Mapping
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.settings.sealed_json import sealed, sha256_of_fields

_OWN_SHA256 = "sha256"
# More rows, tokens or bytes than any run has; beyond it floats lose count.
_MOST = 2**53
# Of a loss: beyond it sums have no end.
_HIGHEST = 1e300
_KEYS = frozenset({"run", "position", "files", "validation_loss"})
_COUNTS = ("global_step", "next_row", "tokens_seen", "rows_left_out", "num_returns")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"variables\.[A-Za-z0-9.-]+")


class DamagedStateError(ValueError):
    """A state file is not what was written; the message says in what way."""


def state_to_json(state: Mapping[str, object]) -> str:
    # As it will be read: JSON knows no tuples.
    fields = json.loads(json.dumps(state))
    return json.dumps(sealed(fields, _OWN_SHA256), indent=2) + "\n"


def state_from_json(text: str) -> dict[str, Any]:
    """Raises DamagedStateError for what is no state, or was changed since it was written."""
    try:
        fields = parse_object(text, "it")
    except InputError as error:
        raise DamagedStateError(str(error)) from error
    written = fields.pop(_OWN_SHA256, None)
    # Those of earlier versions have none.
    if written is not None and written != sha256_of_fields(fields):
        raise DamagedStateError("its checksum is that of other content")
    problem = _problem_of(fields)
    if problem is not None:
        raise DamagedStateError(problem)
    return fields


def _problem_of(fields: Mapping[str, object]) -> str | None:
    # The name of the checksum may be what was damaged.
    if not {"run", "position", "files"} <= set(fields) <= _KEYS:
        return f"it must hold {', '.join(sorted(_KEYS))}, it holds {', '.join(fields)!r:.80}"
    if not isinstance(fields.get("run"), dict):
        return "run must hold the settings of the run"
    position, files, loss = fields.get("position"), fields.get("files"), fields.get("validation_loss")
    if not isinstance(position, dict) or not {"global_step", "watch"} <= set(position) <= {
        *_COUNTS,
        "used_seconds",
        "watch",
        "heads",
    }:
        return f"position must say where the run stands, it holds {list(position) if isinstance(position, dict) else position!r:.80}"
    for name in _COUNTS:
        if not _is_count(position.get(name, 0)):
            return f"{name} must be a whole number from 0 to {_MOST}, it is {position[name]!r:.40}"
    if not _is_number(position.get("used_seconds", 0.0)) or not 0 <= position.get("used_seconds", 0.0) <= _MOST:
        return f"used_seconds must be a number from 0, it is {position['used_seconds']!r:.40}"
    if loss is not None and not _is_number(loss):
        return f"validation_loss must be a number, it is {loss!r:.40}"
    if (
        not isinstance(files, dict)
        or "variables.index" not in files
        or not all(_FILE.fullmatch(name) and _is_count(size) and size > 0 for name, size in files.items())
    ):
        return "files must be the checkpoint's own, with their sizes"
    return _problem_of_heads(position.get("heads", [])) or _problem_of_watch(position["watch"])


def _problem_of_heads(heads: object) -> str | None:
    if not isinstance(heads, list):
        return "heads must be a list"
    for head in heads:
        if not isinstance(head, list) or len(head) != 4 or not all(map(_is_count, head[:3])):
            return f"a head must be (step, row, number, sha256), it is {head!r:.80}"
        if not isinstance(head[3], str) or not _SHA256.fullmatch(head[3]):
            return f"the sha256 of a head must be 64 hexadecimal digits, it is {head[3]!r:.80}"
    return None


def _problem_of_watch(watch: object) -> str | None:
    if not isinstance(watch, dict) or set(watch) != {"recent", "lowest_loss", "num_bad_steps"}:
        return "watch must hold what is remembered of the loss"
    lowest, recent = watch["lowest_loss"], watch["recent"]
    if not _is_count(watch["num_bad_steps"]) or not (lowest is None or _is_number(lowest)):
        return "watch must hold numbers"
    entries = recent if isinstance(recent, list) else [None]
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 3 or not _is_count(entry[0]) or not all(map(_is_number, entry)):
            return f"watch.recent must hold (steps, loss, predictions), it has {entry!r:.60}"
    return None


def _is_number(value: object) -> bool:
    # No comparison holds for NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _HIGHEST


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
