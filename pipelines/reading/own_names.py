"""Which files are Clozekit's own output (datasets, tokenizers, presets, runs), so that none becomes input."""

import json
from collections.abc import Callable, Sequence

from clozekit.pipelines.dataset.data_card import DATA_CARD_FILE
from clozekit.pipelines.dataset.manifest import MANIFEST_FILE
from clozekit.pipelines.running.stage import SIDE_FOLDERS
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system, read_text
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, is_temporary, read_owned

# Folders that a build or a count of words works in; a name with such a beginning is ours where one of them stands.
_WORKING = {"_parts", "_blocks", "_words", "_lock"}
_BESIDE = {*SIDE_FOLDERS, *_WORKING, "report.html"}
_DATASET = {*_BESIDE, MANIFEST_FILE, DATA_CARD_FILE, "tokenizer"}
_PRESET = {
    "assets", "tokenizer.json", "clozekit_options.json", "clozekit.json", "config.json", "metadata.json", "task.json",
    "preprocessor.json", "model.weights.json", "lineage.json",
}  # fmt: skip
_RUN = {"metrics.jsonl", "checkpoints", "preset", "result.json", "report.html"}


def ours_in(
    folder: str, names: Sequence[str], folders: Sequence[str], is_output: bool = False
) -> Callable[[str], bool]:
    """Tells of the path in `folder` of a file below it whether Clozekit wrote it.

    names: what stands in the folder, files and folders; folders: which of them are folders; is_output: whether a run
    writes there now. A name alone is no proof: something has to say that the folder is ours.
    """
    first = _own_names(folder, names, folders, is_output)
    owned = read_owned(folder) if OWNED_FILE in names else None
    if owned is None:
        return lambda path: path.split("/", 1)[0] in first or is_temporary(path)
    ours, ids = owned.names, owned.ids
    return lambda path: (
        path == OWNED_FILE
        or path in ours
        or path.split("/", 1)[0] in first
        or is_temporary(path)
        or any(one in path for one in ids)
    )


def _own_names(folder: str, names: Sequence[str], folders: Sequence[str], is_output: bool) -> set[str]:
    """What outputs of before there were lists consist of."""
    found: set[str] = set()
    if MANIFEST_FILE in names and _is_dataset(folder):
        found |= _DATASET
    elif is_output or _WORKING & set(names):
        found |= _BESIDE
    if any(name.isdecimal() and _is_dataset(f"{folder}/{name}") for name in folders):
        # Datasets of several lengths share what was left out.
        found |= _BESIDE
    if "assets" in folders and _PRESET & set(names) - {"assets"} and _is_there(f"{folder}/assets/tokenizer"):
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
