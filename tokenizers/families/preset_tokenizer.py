"""The tokenizer of a preset: fetches its files, and nothing of the weights."""

from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer, tokenizer_classes
from clozekit.tokenizers.formats.vocabulary_files import read_json
from clozekit.tokenizers.hub.open_preset import open_preset
from clozekit.tokenizers.hub.preset_files import LocalFiles, PresetFiles, root_of
from clozekit.tokenizers.storage.run_paths import tokenizer_of_run
from clozekit.tokenizers.tokenizer import ASSETS_FOLDER, OPTIONS_FILE, TOKENIZER_FILE, Tokenizer


def tokenizer_of_preset(cls: type[Tokenizer], preset: str | Path | PresetFiles, overrides: dict[str, Any]) -> Tokenizer:
    """The tokenizer of `preset`, which must be a `cls`, with `overrides` in the place of its settings."""
    files = preset if isinstance(preset, PresetFiles) else open_preset(_in_run(str(preset)))
    tokenizer = of_class(cls, load_tokenizer(fetch_tokenizer_files(files), overrides))
    if not isinstance(tokenizer, cls):
        found = type(tokenizer).__name__
        raise InputError(
            f"the tokenizer of the preset must be a {cls.__name__}, {files.source} has a {found}; take"
            f" that by {found}.from_preset, and the model alone with preprocessor=None, to which you pass its ids"
        )
    return tokenizer


def _in_run(preset: str) -> str:
    """The preset, or the folder with the tokenizer where it is a path into a run."""
    return (None if preset.startswith(("hf://", "kaggle://")) else tokenizer_of_run(preset)) or preset


def of_class(cls: type[Tokenizer], tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as a `cls`, where that is its own class under another name: DistilBERT's files often name BERT's."""
    renames = cls.__mro__[1] is type(tokenizer) and cls.special_token_names == tokenizer.special_token_names
    return tokenizer.renamed(cls) if renames else tokenizer


def under_name(class_name: str, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as the class of that name, where its own is that one under another: a dataset of BERT's, a model of ELECTRA."""
    base = type(tokenizer).__mro__[1]
    is_its = base.__name__ == class_name and issubclass(base, Tokenizer)
    return tokenizer.renamed(base) if is_its else tokenizer


def fetch_tokenizer_files(files: PresetFiles) -> Path:
    """A directory for `load_tokenizer`, with the files of the tokenizer in it."""
    if isinstance(files, LocalFiles):
        return files.local_directory()
    config = files.path(TOKENIZER_FILE, required=False)
    described = read_json(config) if config is not None else {}
    name = described.get("class_name") if isinstance(described, dict) else None
    if config is not None and name is not None:
        known = tokenizer_classes().get(name)
        for asset in () if known is None else known.asset_files:
            files.path(f"{ASSETS_FOLDER}/{asset}")
        files.path(f"{ASSETS_FOLDER}/{OPTIONS_FILE}", required=False)
        return config.parent
    return _fetch_hugging_face(files)


def _fetch_hugging_face(files: PresetFiles) -> Path:
    """Whatever there is of the files that `hugging_face_tokenizer` reads."""
    names = files.names() or []
    models = [name for name in names if "/" not in name and name.endswith((".model", ".spm"))]
    vocabularies = [TOKENIZER_FILE, "vocab.txt", "vocab.json", "merges.txt"]
    wanted = [
        "tokenizer_config.json",
        "config.json",
        "added_tokens.json",
        "special_tokens_map.json",
        *([*models, TOKENIZER_FILE] if models else vocabularies),
    ]
    fetched = [(name, path) for name in wanted if (path := files.path(name, required=False)) is not None]
    if not fetched:
        raise files.lacks(TOKENIZER_FILE, "vocab.txt", "vocab.json", "*.model")
    name, path = fetched[0]
    return root_of(path, name)
