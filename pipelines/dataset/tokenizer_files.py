"""The files of a tokenizer, by name, to be written beside a dataset."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.manifest_schema import check_described
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

TOKENIZER_FOLDER = "tokenizer"


def check_tokenizer(manifest: Manifest, directory: str) -> None:
    """Raises InputError unless the tokenizer beside a dataset is the one that its manifest speaks of."""
    tokenizer = load_tokenizer(f"{directory.rstrip('/')}/{TOKENIZER_FOLDER}")
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        raise InputError(
            f"{directory}/{TOKENIZER_FOLDER} must be the tokenizer that made the ids (sha256"
            f" {manifest.tokenizer.sha256[:12]}), it is another ({tokenizer.sha256()[:12]}); copy the dataset again"
        )
    check_described(manifest, tokenizer, directory)


def tokenizer_contents(tokenizer: Tokenizer) -> Mapping[str, bytes]:
    """Name -> content of the files that `Tokenizer.save` writes, sorted by name."""
    with tempfile.TemporaryDirectory(prefix="clozekit-tokenizer-") as folder:
        tokenizer.save(folder)
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
