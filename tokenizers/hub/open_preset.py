"""Where a preset's files come from: a directory, a built-in id, Kaggle, Hugging Face, or any URL that fsspec opens."""

import difflib
import os
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.hub.huggingface_presets import HuggingFaceFiles
from clozekit.tokenizers.hub.kaggle_presets import KaggleFiles
from clozekit.tokenizers.hub.preset_files import LocalFiles, PresetFiles
from clozekit.tokenizers.hub.url_presets import UrlFiles
from clozekit.tokenizers.storage.download_errors import PATH_VARIABLE

__all__ = ["PATH_VARIABLE", "PresetFiles", "open_preset"]


def open_preset(preset: str | Path) -> PresetFiles:
    """The files of `preset`; nothing is downloaded before a file is asked for.

    The first of these that exists: a directory; `DIR/<id>` for a DIR of CLOZEKIT_PRESET_PATH (of a handle, DIR/<handle>
    or DIR/<last id>); a built-in id, at Kaggle; `kaggle://`; `hf://`; any URL of fsspec (`gs://`, `s3://`, ...).
    """
    text = os.fspath(preset)
    if not text:
        raise InputError('a preset must be named, got ""; pass a directory, an id, or a handle')
    if Path(text).is_dir():
        return LocalFiles(text)
    name = text.rstrip("/")
    if "://" in name and ".." in name.split("/"):
        raise InputError(f"a preset's handle must not have '..' among its parts, got {text!r}; correct it")
    handle = BUILTIN_PRESETS[name].handle if name in BUILTIN_PRESETS else name
    for candidate in _candidates(name, handle):
        if candidate.is_dir():
            return LocalFiles(candidate)
    scheme = handle.split("://", 1)[0] if "://" in handle else None
    if scheme == "kaggle":
        return KaggleFiles(handle)
    if scheme == "hf":
        return HuggingFaceFiles(handle)
    if scheme in ("file", "local"):
        return _local_url(handle)
    if scheme is not None:
        return UrlFiles(handle)
    raise _unknown(text)


def _candidates(name: str, handle: str) -> list[Path]:
    """Where the directories of CLOZEKIT_PRESET_PATH may hold the preset, the most exact place first."""
    directories = [Path(part) for part in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if part]
    places = [name] if "://" not in name else []
    if "://" in handle:
        rest = handle.split("://", 1)[1]
        places += [rest, _last_id(handle)]
    # "/" in front would leave the directory: such a name is a path that does not exist.
    inside = [place for place in places if place and not place.startswith("/")]
    return [directory / place for directory in directories for place in dict.fromkeys(inside)]


def _last_id(handle: str) -> str:
    scheme, rest = handle.split("://", 1)
    parts = rest.rstrip("/").split("/")
    if scheme == "kaggle" and len(parts) == 5:
        return parts[3]
    return parts[-1].split("@")[0] if scheme == "hf" else parts[-1]


def _local_url(url: str) -> LocalFiles:
    directory = Path(url.split("://", 1)[1])
    if not directory.is_dir():
        raise InputError(f"a preset at {url} must be a directory, {directory} is none; check the path")
    return LocalFiles(directory)


def _unknown(text: str) -> InputError:
    near = difflib.get_close_matches(text, BUILTIN_PRESETS, n=3)
    guess = f" did you mean {' or '.join(near)}?" if near else f" the ids are {', '.join(BUILTIN_PRESETS)};"
    searched = os.environ.get(PATH_VARIABLE)
    where = f", nor in {PATH_VARIABLE}={searched}" if searched else ""
    return InputError(
        f"a preset must be a directory, a built-in id, or a handle of kaggle://, hf://, gs:// or another scheme of fsspec;"
        f" {text!r} is no directory here{where} and no known id;{guess}".rstrip(";")
    )
