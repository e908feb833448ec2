"""Which names in a folder are Clozekit's own output (datasets, tokenizers, presets, runs), so that none becomes input."""

import json
from collections.abc import Sequence

from clozekit.pipelines.data_card import DATA_CARD_FILE
from clozekit.pipelines.manifest import MANIFEST_FILE
from clozekit.pipelines.stage import SIDE_FOLDERS
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import open_file_system, read_text

# Folders that a build or a count of words works in; a name with such a beginning is ours where one of them stands.
_WORKING = {"_parts", "_blocks", "_words", "_lock"}
_BESIDE = {*SIDE_FOLDERS, *_WORKING, "report.html"}
_DATASET = {*_BESIDE, MANIFEST_FILE, DATA_CARD_FILE, "tokenizer"}
_PRESET = {
    "assets", "tokenizer.json", "clozekit_options.json", "clozekit.json", "config.json", "metadata.json", "task.json",
    "preprocessor.json", "model.weights.json",
}  # fmt: skip
_RUN = {"metrics.jsonl", "checkpoints", "preset", "result.json", "report.html"}


def own_names(folder: str, names: Sequence[str], folders: Sequence[str], is_output: bool = False) -> set[str]:
    """Those of `names` (files and folders of `folder`) that Clozekit wrote; `folders`: which of them are folders.

    is_output: whether a run writes there now. A name alone is no proof: something has to say that the folder is ours.
    """
    found: set[str] = set()
    if MANIFEST_FILE in names and _is_dataset(folder):
        found |= _DATASET
    elif is_output or _WORKING & set(names):
        found |= _BESIDE
    if any(name.isdecimal() and _is_dataset(f"{folder}/{name}") for name in folders):
        # Datasets of several lengths share what was left out.
        found |= _BESIDE
    if "assets" in folders and _PRESET - {"assets"} & set(names) and _is_there(f"{folder}/assets/tokenizer"):
        found |= _PRESET
    if "metrics.jsonl" in names and {"checkpoints", "preset"} & set(folders):
        found |= _RUN
    return found & set(names)


def _is_there(path: str) -> bool:
    filesystem, name = open_file_system(path)
    return bool(filesystem.exists(name))


def _is_dataset(folder: str) -> bool:
    path = f"{folder}/{MANIFEST_FILE}"
    try:
        fields = json.loads(read_text(path)) if _is_there(path) else None
    except (InputError, OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"dataset_sha256", "build_id", "splits"} <= set(fields)
