"""Putting a finished preset where others can load it: a URL of fsspec, Kaggle, or Hugging Face."""

from fnmatch import fnmatch
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_files import relative_names
from clozekit.tokenizers.storage.download_errors import client_library, named_upload_errors
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, Owned, read_owned, remove_files, write_owned
from clozekit.tokenizers.storage.replaced_folders import check_replaceable

# The file by which a directory is known as a preset: the last to be written, the first to go.
MARKER_FILE = "config.json"
_WEIGHTS = ("model.weights.h5", "model.weights.json", "model.safetensors", "model.safetensors.index.json")
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
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def upload_directory(local: Path, url: str, keep_others: bool = False) -> None:
    """Copies the preset in `local` below `url`; a preset of ours that was there is replaced, as a whole.

    The marker `config.json` goes first and comes last: whoever loads meanwhile finds no preset, never half of one.
    keep_others: nothing is removed, for a part of a preset (a tokenizer).
    Raises InputError when something that Clozekit did not write stands at `url`, or the writing fails.
    """
    names = [name for name in relative_names(local) if name != OWNED_FILE]
    if not keep_others and MARKER_FILE not in names:
        raise InputError(f"a preset must hold {MARKER_FILE}, {local} does not; save one there first")
    file_system, root = open_file_system(url.rstrip("/"))
    with named_upload_errors(url):
        if not keep_others:
            check_replaceable("convert", "a preset", url, "choose another URL")
            before = read_owned(url) or Owned("convert")
            # What is written from now on is ours, also when this is cut off.
            write_owned(url, Owned(before.made_by, before.names | set(names)))
            remove_files(url, [MARKER_FILE, *sorted(before.names - set(names))])
        for name in sorted(names, key=lambda name: name == MARKER_FILE):
            file_system.put_file(str(local / name), f"{root}/{name}")
            size, written = (local / name).stat().st_size, file_system.info(f"{root}/{name}")["size"]
            if size != written:
                raise InputError(f"{url}/{name} must have {size} bytes as {local / name}, it has {written}; try again")
        if not keep_others:
            write_owned(url, Owned(before.made_by, frozenset(names)))


def is_of_preset(name: str) -> bool:
    """Whether presets consist of such files."""
    # A "/" is never matched by a "*": below may be other presets.
    return name.startswith("assets/") or ("/" not in name and any(fnmatch(name, one) for one in _PRESET_FILES))


def upload_preset(uri: str, preset: str | Path) -> None:
    """Publishes the preset directory `preset` at `kaggle://...`, `hf://owner/model`, or a URL such as `gs://...`.

    The login is the client's (`kagglehub.login()`, `hf auth login`). Raises InputError when the directory is no whole
    preset, or the upload fails.
    """
    local = Path(preset)
    names = relative_names(local) if local.is_dir() else []
    if MARKER_FILE not in names or not set(_WEIGHTS) & set(names):
        raise InputError(
            f"a preset to publish must hold {MARKER_FILE} and one of {', '.join(_WEIGHTS)}, {local} does not;"
            " save one with save_to_preset"
        )
    scheme = uri.split("://", 1)[0] if "://" in uri else None
    if scheme == "kaggle":
        _to_kaggle(uri, local)
    elif scheme == "hf":
        _to_hugging_face(uri, local, "README.md" in names)
    elif scheme is not None:
        upload_directory(local, uri)
    else:
        raise InputError(f"a preset is published at kaggle://, hf:// or a URL of fsspec, got {uri!r}; name the scheme")


def _to_kaggle(uri: str, local: Path) -> None:
    handle = uri.removeprefix("kaggle://")
    if len(handle.split("/")) != 4:
        raise InputError(
            f"a preset is published at kaggle://owner/model/framework/variation, got {uri!r}; Kaggle counts versions"
        )
    client = client_library("kaggle", "kaggle://")
    with named_upload_errors(uri):
        client.model_upload(handle, str(local))


def _to_hugging_face(uri: str, local: Path, has_card: bool) -> None:
    repository = uri.removeprefix("hf://")
    if len(repository.split("/")) != 2 or "@" in repository:
        raise InputError(f"a preset is published at hf://owner/model, got {uri!r}; correct it")
    client = client_library("huggingface", "hf://")
    api = client.HfApi(library_name="clozekit")
    with named_upload_errors(uri):
        api.create_repo(repository, exist_ok=True)
        # One commit: nobody sees half of it.
        api.upload_folder(repo_id=repository, folder_path=local, commit_message="A preset saved by Clozekit")
        if not has_card and not api.file_exists(repository, "README.md"):
            api.upload_file(
                path_or_fileobj=_model_card(local, uri).encode(),
                path_in_repo="README.md",
                repo_id=repository,
                commit_message="A model card",
            )


def _model_card(local: Path, uri: str) -> str:
    """What Hugging Face needs to know how a preset without a README.md is loaded."""
    is_kerashub = any((local / name).is_file() for name in _WEIGHTS[:2])
    if not is_kerashub:
        return "---\nlibrary_name: transformers\npipeline_tag: fill-mask\n---\n"
    task = "MaskedLM" if "MaskedLM" in _text(local / "task.json") else "Backbone"
    tag = "pipeline_tag: fill-mask\n" if task == "MaskedLM" else ""
    return (
        f"---\nlibrary_name: keras-hub\n{tag}---\nA preset for Clozekit and KerasHub:\n\n"
        f'```python\nfrom clozekit.model import {task}\n\nmodel = {task}.from_preset("{uri}")\n```\n'
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
