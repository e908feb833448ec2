"""A verb's words: the file of its settings, or none, and the changes to them."""

from collections.abc import Sequence
from pathlib import Path


def file_and_changes(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file, None where the first word is a change (KEY=VALUE) already, and the changes."""
    if words and ("=" not in words[0] or Path(words[0]).exists()):
        return words[0], list(words[1:])
    return None, list(words)
