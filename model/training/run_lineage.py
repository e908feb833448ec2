"""The link of a run: its kind, settings and code by hash, what it read, and what it began from."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from clozekit.model.common.own_code import source_sha256
from clozekit.model.presets.checkpoint_lineage import recipe_sha256, run_sha256
from clozekit.model.presets.lineage import Lineage, linked
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.tokenizers.common.errors import InputError

# What made a preset that is not there to be asked.
UNKNOWN = "unknown"


def run_lineage(
    kind: str,
    identity: Mapping[str, Any],
    own_functions: Mapping[str, str],
    data: Mapping[str, Sequence[Lineage]],
    starts: Mapping[str, str | None],
    begun: Lineage | None = None,
    goes_on: bool = False,
) -> Lineage:
    """The lineage of a run.

    Args:
        kind: "train" or "finetune".
        identity: what its checkpoints say of it.
        own_functions: key of the configuration -> the function of the user's own that it names.
        data: what is read -> lineages.
        starts: "init_from", "teacher" and "generator" -> the presets that were named.
        begun: what a run that goes on has said of itself before: what it began from is not looked at again, and code that it has
            no longer is said too.
        goes_on: whether it does, though it may have said nothing.

    Raises:
        InputError: where it begins with a preset that can't be had.
    """
    codes = [] if begun is None else list(begun.link.get("code", []))
    code = _code(own_functions)
    if codes[-1:] != [code]:
        codes.append(code)
    fields = {"kind": kind, "sha256": run_sha256(identity), "recipe_sha256": recipe_sha256(identity), "code": codes}
    before = {name: list(lineages) for name, lineages in data.items()}
    for name, preset in starts.items():
        if preset is not None:
            before[name] = begun.before(name) if begun is not None else [_start(preset, goes_on)]
    return linked("run", fields, before)


def _start(preset: str, goes_on: bool) -> Lineage:
    try:
        return lineage_of(preset)
    except InputError:
        if not goes_on:
            raise
        # An earlier version began it, and what it began from is gone.
        return linked("preset", {"made_by": UNKNOWN})


def _code(own_functions: Mapping[str, str]) -> dict[str, Any]:
    """The version of Clozekit, and the hashes of the files that the user's own functions are in."""
    code: dict[str, Any] = {"clozekit": importlib.metadata.version("clozekit")}
    if own_functions:
        code["functions"] = {
            key: {"name": name, "sha256": source_sha256(name)} for key, name in sorted(own_functions.items())
        }
    return code
