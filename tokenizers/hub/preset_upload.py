"""Putting a finished preset at a URL of fsspec, as a whole."""

from fnmatch import fnmatch
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_files import relative_names
from clozekit.tokenizers.storage.download_errors import named_upload_errors
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, Owned, read_owned, remove_files, write_owned
from clozekit.tokenizers.storage.replaced_folders import check_replaceable

# The file by which a directory is known as a preset: the last to be written, the first to go.
MARKER_FILE = "config.json"
# What presets consist of: of what a killed command left of one, no other files are removed.
_PRESET_FILES = (
    "config.json",
    "task.json",
    "preprocessor.json",
    "tokenizer.json",
    "metadata.json",
    "model*.weights.h5",
    "model.weights.json",
    "task.weights.h5",
    "model*.safetensors",
    "model.safetensors.index.json",
    "clozekit.json",
    "lineage.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def upload_directory(
    local: Path, url: str, keep_others: bool = False, ids: frozenset[str] = frozenset(), marker: str = MARKER_FILE
) -> None:
    """Copies the preset in `local` below `url`; a preset of ours that was there is replaced, as a whole.

    The marker, `config.json` of a preset, goes first and comes last: whoever loads meanwhile finds no preset, never half of one.
    keep_others: nothing is removed, for a part of a preset (a tokenizer). ids: what is noted beside the names of the files.
    Raises InputError when something that Clozekit did not write stands at `url`, or the writing fails.
    """
    names = [name for name in relative_names(local) if name != OWNED_FILE]
    if not keep_others and marker not in names:
        raise InputError(f"a preset must hold {marker}, {local} does not; save one there first")
    file_system, root = open_file_system(url.rstrip("/"))
    with named_upload_errors(url):
        if not keep_others:
            check_replaceable("convert", "a preset", url, "choose another URL")
            before = read_owned(url) or Owned("convert")
            # What is written from now on is ours, also when this is cut off.
            write_owned(url, Owned(before.made_by, before.names | set(names), ids))
            remove_files(url, [marker])
            remove_files(url, before.names - set(names))
        for name in sorted(names, key=lambda name: name == marker):
            file_system.put_file(str(local / name), f"{root}/{name}")
            size, written = (local / name).stat().st_size, file_system.info(f"{root}/{name}")["size"]
            if size != written:
                raise InputError(f"{url}/{name} must have {size} bytes as {local / name}, it has {written}; try again")
        if not keep_others:
            write_owned(url, Owned(before.made_by, frozenset(names), ids))


def is_of_preset(name: str) -> bool:
    """Whether presets consist of such files."""
    # A "/" is never matched by a "*": below may be other presets.
    return name.startswith("assets/") or ("/" not in name and any(fnmatch(name, one) for one in _PRESET_FILES))
