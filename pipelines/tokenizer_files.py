"""The files of a tokenizer, by name, to be written beside a dataset."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from clozekit.tokenizers.tokenizer import Tokenizer

TOKENIZER_FOLDER = "tokenizer"


def tokenizer_contents(tokenizer: Tokenizer) -> Mapping[str, bytes]:
    """Name -> content of the files that `Tokenizer.save` writes, sorted by name."""
    with tempfile.TemporaryDirectory(prefix="clozekit-tokenizer-") as folder:
        tokenizer.save(folder)
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
