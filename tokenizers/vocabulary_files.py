"""Reading vocabularies: `vocab.txt`, `vocab.json`, `merges.txt`; what is wrong is named with its file and line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.tokenizers.errors import InputError


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 file. Only "\\n" ends a line: a piece may itself hold any other Unicode space."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"a vocabulary file must be readable, {path} is not ({error.strerror}); check it") from error
    except UnicodeDecodeError as error:
        raise InputError(f"a vocabulary file must be UTF-8, {path} is not at byte {error.start}; convert it") from error
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def read_json(path: str | Path) -> Any:
    """The JSON of a file; a key that stands twice in one object is refused."""
    text = "\n".join(read_lines(path))
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} must be JSON, line {error.lineno} is not ({error.msg}); copy the file again"
        ) from error


def _unique(pairs: list[tuple[str, Any]], path: str | Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"a vocabulary holds each piece once, {path} has {twice!r} twice; remove one")
    return found


def pieces_of(vocabulary: str | Path | Sequence[str] | Mapping[str, int]) -> tuple[list[str], str]:
    """(pieces by id, what to call their source) of a file, a list or a dict."""
    if isinstance(vocabulary, str | Path):
        if str(vocabulary).endswith(".json"):
            content = read_json(vocabulary)
            if not isinstance(content, dict):
                raise InputError(f"a vocabulary in JSON must be piece -> id, {vocabulary} is not; check the file")
            return _by_id(content, str(vocabulary)), str(vocabulary)
        return read_lines(vocabulary), str(vocabulary)
    if isinstance(vocabulary, Mapping):
        return _by_id(vocabulary, "the vocabulary dict"), "the vocabulary dict"
    return list(vocabulary), "the vocabulary list"


def _by_id(vocabulary: Mapping[str, int], source: str) -> list[str]:
    for piece, token_id in vocabulary.items():
        if isinstance(token_id, bool) or not isinstance(token_id, int):
            raise InputError(f"the id of a piece must be an integer, {source} has {token_id!r} for {piece!r}; mend it")
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    for expected, piece in enumerate(pieces):
        if vocabulary[piece] != expected:
            raise InputError(
                f"the ids of a vocabulary must be 0, 1, 2, ... without gaps, {source} has {vocabulary[piece]} for"
                f" {piece!r} where {expected} is due; renumber them"
            )
    return pieces


def check_pieces(pieces: Sequence[str], special_tokens: Iterable[str], source: str) -> None:
    """Raises InputError for an empty or repeated piece or a missing special token, with the line it stands on."""
    first_seen: dict[str, int] = {}
    for number, piece in enumerate(pieces, start=1):
        if not isinstance(piece, str):
            raise InputError(f"a piece must be a str, {source} line {number} is {piece!r}; convert it")
        if piece == "":
            raise InputError(f"a vocabulary holds one piece a line, {source} line {number} is empty; remove the line")
        if piece in first_seen:
            raise InputError(
                f"a vocabulary holds each piece once, {source} has {piece!r} on line {first_seen[piece]} and again"
                f" on line {number}; remove one"
            )
        first_seen[piece] = number
    for token in special_tokens:
        if token not in first_seen:
            raise InputError(
                f"the vocabulary must hold the special token {token}, {source} ({len(pieces)} pieces) does not;"
                " add it, or pass the right vocabulary"
            )


def merges_of(merges: str | Path | Iterable[str | Sequence[str]]) -> list[tuple[str, str]]:
    """Pairs of a `merges.txt` or of a list of "left right"; the `#version:` line of a file is skipped."""
    if isinstance(merges, str | Path):
        lines: list[Any] = list(read_lines(merges))
        source = f"{merges} line"
    else:
        lines = list(merges)
        source = "the merges list, item"
    pairs = []
    for number, line in enumerate(lines, start=1):
        if isinstance(line, str) and (line.startswith("#version:") or (line == "" and number == len(lines))):
            continue
        parts = line.split(" ") if isinstance(line, str) else list(line)
        if len(parts) != 2 or not parts[0] or not parts[1]:
            raise InputError(
                f"a merge must be two parts with one space between, {source} {number} is {line!r}; mend it"
            )
        pairs.append((parts[0], parts[1]))
    return pairs
