"""Where presets go: a folder or a URL that is free, or holds what Clozekit wrote there, and is replaced as a whole."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from clozekit.model.presets.lineage_file import Origin, write_lineage
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_upload import MARKER_FILE, is_of_preset, upload_directory
from clozekit.tokenizers.storage.file_systems import is_url, write_bytes_whole
from clozekit.tokenizers.storage.owned_files import (
    Owned,
    in_the_way,
    list_files,
    read_owned,
    refuse_foreign,
    write_owned,
)
from clozekit.tokenizers.storage.replaced_folders import check_replaceable, replaced_folder

# Of a preset and an ONNX model, a SavedModel, a LiteRT model.
_MARKERS = (MARKER_FILE, "saved_model.pb", "model.tflite")
MADE_BY = "convert"
_WHAT, _CHOOSE = "a preset", "choose another place for it"
# Of a SavedModel, of ONNX and LiteRT; the others are told by `is_of_preset`.
_OF_RUNTIMES = re.compile(r"saved_model\.pb|fingerprint\.pb|(variables|assets)/[^/]+|model\.(onnx|onnx_data|tflite)")


def write_whole_preset(preset_dir: str | Path, write: Callable[[Path], None], origin: Origin | None = None) -> None:
    """Has `write` fill a directory and puts that in the place of `preset_dir`, which may be a URL; or leaves nothing.

    origin: what its `lineage.json` says; without one it has none.
    Raises InputError, before anything is written, when a file is there that Clozekit did not write.
    """
    if is_url(preset_dir):
        check_replaceable(MADE_BY, _WHAT, preset_dir, _CHOOSE)
        with tempfile.TemporaryDirectory() as temporary:
            write(Path(temporary))
            write_lineage(Path(temporary), origin)
            upload_directory(Path(temporary), str(preset_dir), marker=_marker(Path(temporary)))
        return
    with replaced_folder(Path(preset_dir), MADE_BY, _WHAT, _CHOOSE, _may_hold) as directory:
        write(directory)
        write_lineage(directory, origin)


def _marker(directory: Path) -> str:
    """The file without which what is in the directory is nothing."""
    return next((name for name in _MARKERS if (directory / name).is_file()), MARKER_FILE)


def _may_hold(name: str) -> bool:
    return is_of_preset(name) or _OF_RUNTIMES.fullmatch(name) is not None


def add_to_preset(preset_dir: str | Path, write: Callable[[Path], None]) -> None:
    """Adds the files that `write` puts into a directory to those of `preset_dir`, which may be a URL and need not exist.

    Raises InputError, before anything is written, when one of them is there and Clozekit did not write it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary))
        names = list_files(temporary)
        owned = read_owned(preset_dir) or Owned(MADE_BY)
        refuse_foreign(_WHAT, preset_dir, in_the_way(preset_dir, names, owned), _CHOOSE)
        write_owned(preset_dir, Owned(owned.made_by, owned.names | set(names), owned.ids))
        for name in names:
            write_bytes_whole(f"{preset_dir}/{name}", (Path(temporary) / name).read_bytes())


def check_preset_target(preset_dir: str | Path, *sources: str | Path | None) -> None:
    """Raises InputError unless the directory (or URL) is free, or holds what Clozekit wrote there; and where it is one of
    `sources`, the presets and tokenizers that are read for it, or inside of one, or the other way round."""
    for source in sources:
        if source is not None and _is_inside(preset_dir, source):
            raise InputError(
                f"{_WHAT} goes beside what it is made from, got {preset_dir} for one made from {source}; {_CHOOSE}"
            )
    check_replaceable(MADE_BY, _WHAT, preset_dir, _CHOOSE)


def _is_inside(one: str | Path, other: str | Path) -> bool:
    """Whether one of two places is the other, or below it."""
    if is_url(one) != is_url(other):
        return False
    if is_url(one):
        first, second = PurePosixPath(str(one)), PurePosixPath(str(other))
    else:
        first, second = PurePosixPath(os.path.realpath(one)), PurePosixPath(os.path.realpath(other))
    return first.is_relative_to(second) or second.is_relative_to(first)
