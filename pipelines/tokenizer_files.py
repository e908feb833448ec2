"""The tokenizer beside a dataset: saved to and loaded from a local path or any fsspec URL."""

import tempfile
from pathlib import Path

import fsspec

from clozekit.pipelines.files import is_local, join, write_bytes
from clozekit.tokenizers.families import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

TOKENIZER_FOLDER = "tokenizer"


def save_tokenizer_to(tokenizer: Tokenizer, directory: str) -> None:
    if is_local(fsspec.core.url_to_fs(directory)[0]):
        tokenizer.save(fsspec.core.url_to_fs(directory)[1])
        return
    # Tokenizers write to paths; an object store gets their files.
    with tempfile.TemporaryDirectory(prefix="clozekit-tokenizer-") as folder:
        tokenizer.save(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                write_bytes(join(directory, path.relative_to(folder).as_posix()), path.read_bytes())


def load_tokenizer_from(directory: str) -> Tokenizer:
    """`load_tokenizer` for any URL. Raises InputError when there is none, or it is damaged."""
    filesystem, path = fsspec.core.url_to_fs(directory)
    if is_local(filesystem):
        return load_tokenizer(path)
    with tempfile.TemporaryDirectory(prefix="clozekit-tokenizer-") as folder:
        if filesystem.isdir(path):
            filesystem.get(path.rstrip("/") + "/", folder + "/", recursive=True)
        return load_tokenizer(folder)
