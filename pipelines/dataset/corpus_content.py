"""The content of a corpus by one hash, noted beside a dataset that was made of it, where whoever had it made knows it."""

import hashlib
import json
import posixpath
from collections.abc import Sequence

from clozekit.tokenizers.storage.file_systems import open_file_system, read_text, write_text

CONTENT_FILE = "corpus.json"
# The dataset itself, and one of a length within it.
_LEVELS = 2


def content_sha256(files: Sequence[str]) -> str:
    """Of the hashes of a corpus's files, in whatever order and under whatever names they lie.

    Example:

        >>> from clozekit.pipelines.dataset.corpus_content import content_sha256
        >>> content_sha256(["b" * 64, "a" * 64]) == content_sha256(["a" * 64, "b" * 64])
        True
    """
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()


def write_corpus_content(folder: str, datasets: Sequence[str], sha256: str) -> None:
    """Notes in the folder that holds a dataset what it was made of. datasets: the dataset_sha256 of those in it; sha256: of all
    files that were read."""
    write_text(
        posixpath.join(folder, CONTENT_FILE), json.dumps({"datasets": sorted(datasets), "sha256": sha256}) + "\n"
    )


def read_corpus_content(directory: str, dataset_sha256: str) -> str | None:
    """The hash of the corpus that the dataset in a folder was made of; None where it stands nowhere, or is of another dataset."""
    folder = directory.rstrip("/")
    for _ in range(_LEVELS):
        folder = posixpath.dirname(folder)
        filesystem, name = open_file_system(posixpath.join(folder, CONTENT_FILE))
        if not filesystem.isfile(name):
            continue
        try:
            found = json.loads(read_text(posixpath.join(folder, CONTENT_FILE)))
            datasets, sha256 = found["datasets"], found["sha256"]
        except (ValueError, KeyError, TypeError):
            # Somebody else's file of that name.
            continue
        if isinstance(datasets, list) and dataset_sha256 in datasets and isinstance(sha256, str):
            return sha256
    return None
