"""Paths into a run: its folder, which of its models is named, and where their tokenizer is."""

import re

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system

CHECKPOINTS = "checkpoints"
# What a run makes a model of its checkpoints with: a preset without its weights; and the one it ends with.
MODEL, PRESET = "model", "preset"
_STEP = re.compile(r"step-(\d{1,8})")
_TOKENIZER_FILE = "tokenizer.json"


def split_run_path(path: str) -> tuple[str, str]:
    """The run, and what of it: "latest", "best", "step-N", or "" for the run itself."""
    path = path.rstrip("/")
    before, _, last = path.rpartition("/")
    if last in ("best", "latest") or _STEP.fullmatch(last):
        inside = before == CHECKPOINTS or before.endswith(f"/{CHECKPOINTS}")
        return (before.rpartition("/")[0] if inside else before) or ".", last
    return path, ""


def checkpoint_name(name: str) -> str | None:
    """The folder of the checkpoint that "step-N" names, N with zeros in front or without; None for other names."""
    step = _STEP.fullmatch(name)
    return None if step is None else f"step-{int(step[1]):08d}"


def tokenizer_of_run(path: str) -> str | None:
    """The folder with the tokenizer of the models of a run, which have one; None where the path names no run.

    Raises InputError for a checkpoint that is not there, and for a run that says nowhere what its model is.
    """
    run, name = split_run_path(path)
    filesystem, root = open_file_system(run)
    if not filesystem.isdir(f"{root}/{CHECKPOINTS}"):
        return None
    step = checkpoint_name(name)
    if step is not None and not filesystem.isdir(f"{root}/{CHECKPOINTS}/{step}"):
        raise InputError(f"a checkpoint must be there, {run}/{CHECKPOINTS} has no {step}; name another")
    for folder in (MODEL, PRESET):
        if filesystem.isfile(f"{root}/{folder}/{_TOKENIZER_FILE}"):
            return f"{run}/{folder}"
    raise InputError(
        f"a run must say what its model is, {run}/{MODEL} has no {_TOKENIZER_FILE}; pass the tokenizer of its dataset"
    )
