"""The tokenizer beside a dataset: its files, in a local folder or at a URL."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from clozekit.pipelines.files import join, write_bytes
from clozekit.tokenizers.file_systems import is_url, open_file_system
from clozekit.tokenizers.tokenizer import Tokenizer

TOKENIZER_FOLDER = "tokenizer"


def tokenizer_contents(tokenizer: Tokenizer) -> Mapping[str, bytes]:
    """Name -> content of the files that `Tokenizer.save` writes, sorted by name."""
    with tempfile.TemporaryDirectory(prefix="clozekit-tokenizer-") as folder:
        tokenizer.save(folder)
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def save_tokenizer_to(tokenizer: Tokenizer, directory: str) -> None:
    """`Tokenizer.save` to a path or URL."""
    if not is_url(directory):
        tokenizer.save(directory)
        return
    for name, content in tokenizer_contents(tokenizer).items():
        write_bytes(join(directory, name), content)


def file_names(directory: str) -> list[str]:
    """The files below a folder by their paths in it, sorted; none when it does not exist."""
    filesystem, root = open_file_system(directory)
    if not filesystem.isdir(root):
        return []
    return sorted(str(name).removeprefix(f"{root.rstrip('/')}/") for name in filesystem.find(root))
