"""Reading vocabularies: `vocab.txt`, `vocab.json`, `merges.txt`; what is wrong is named with its file and line."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError

# Twice that of XLM-V (Liang et al. 2023, arXiv 2301.10472), the largest vocabulary of a masked LM.
MAX_VOCABULARY_SIZE = 2_000_000
# The largest published vocabularies have a million pieces in about 30 MB.
MAX_FILE_BYTES = 256 << 20
# What ends a part of a merge or its line.
_BREAKS = frozenset(" \n\r")


def read_vocabulary_file(path: str | Path, what: str = "a vocabulary file") -> bytes:
    """The bytes of a file of a tokenizer. Raises InputError where it can't be read or is out of proportion."""
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    # A name with a NUL is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{what} must be readable, {path} is not ({reason}); check it") from error
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{what} must have at most {MAX_FILE_BYTES >> 20} MiB, {path} has more; is it the right file?")
    return content


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 file. Only "\\n" ends a line: a piece may itself hold any other Unicode space."""
    try:
        text = read_vocabulary_file(path).decode("utf-8")
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
    except RecursionError as error:
        raise InputError(f"{path} must be JSON of a few levels, it is nested without end; check the file") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        # Python reads no integer of more than 4,300 digits.
        raise InputError(f"{path} must be JSON with numbers in proportion, it is not; check the file") from error


def _unique(pairs: list[tuple[str, Any]], path: str | Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, number in Counter(key for key, _ in pairs).items() if number > 1)
        raise InputError(f"a vocabulary holds each piece once, {path} has {twice!r:.200} twice; remove one")
    return found


def piece_bytes(piece: str, place: str) -> bytes:
    """A piece as UTF-8. place: where it stands, in the words of the error."""
    try:
        return piece.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a piece must be text that UTF-8 can write, {place} is {piece!r:.200} with half a surrogate pair; correct it"
        ) from error


def pieces_of(vocabulary: str | Path | Sequence[str] | Mapping[str, int]) -> tuple[list[str], str]:
    """(pieces by id, what to call their source) of a file, a list or a dict."""
    if isinstance(vocabulary, str | Path):
        if str(vocabulary).endswith(".json"):
            content = read_json(vocabulary)
            if not isinstance(content, dict):
                raise InputError(f"a vocabulary in JSON must be piece -> id, {vocabulary} is not; check the file")
            return _by_id(content, str(vocabulary)), str(vocabulary)
        lines = read_lines(vocabulary)
        # As transformers reads them: an editor's mark at the begin and empty lines at the end are no pieces.
        lines[:1] = [line.removeprefix("\ufeff") for line in lines[:1]]
        while lines and lines[-1] == "":
            lines.pop()
        return lines, str(vocabulary)
    if isinstance(vocabulary, Mapping):
        return _by_id(vocabulary, "the vocabulary dict"), "the vocabulary dict"
    if not isinstance(vocabulary, Iterable):
        raise InputError(f"a vocabulary must be a file, a list or a dict of pieces, got {vocabulary!r:.200}; check it")
    return list(vocabulary), "the vocabulary list"


def _by_id(vocabulary: Mapping[str, int], source: str) -> list[str]:
    for piece, token_id in vocabulary.items():
        if isinstance(token_id, bool) or not isinstance(token_id, int):
            raise InputError(
                f"the id of a piece must be an integer, {source} has {token_id!r:.200} for {piece!r:.200}; correct it"
            )
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    for expected, piece in enumerate(pieces):
        if vocabulary[piece] != expected:
            raise InputError(
                f"the ids of a vocabulary must be 0, 1, 2, ... without gaps, {source} has {vocabulary[piece]} for"
                f" {piece!r:.200} where {expected} is due; renumber them"
            )
    return pieces


def check_pieces(pieces: Sequence[str], special_tokens: Iterable[str], source: str) -> None:
    """Raises InputError for an empty or repeated piece or a missing special token, with the line it stands on."""
    first_seen: dict[str, int] = {}
    for number, piece in enumerate(pieces, start=1):
        if not isinstance(piece, str):
            raise InputError(f"a piece must be a str, {source} line {number} is {piece!r:.200}; convert it")
        if piece == "":
            raise InputError(f"a vocabulary holds one piece a line, {source} line {number} is empty; remove the line")
        if piece in first_seen:
            raise InputError(
                f"a vocabulary holds each piece once, {source} has {piece!r:.200} on line {first_seen[piece]} and again"
                f" on line {number}; remove one"
            )
        first_seen[piece] = number
    try:
        "".join(pieces).encode()
    except UnicodeEncodeError:
        for number, piece in enumerate(pieces, start=1):
            piece_bytes(piece, f"{source} line {number}")
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
        if not isinstance(merges, Iterable):
            raise InputError(f"merges must be a list of pairs, got {merges!r:.200}; check them")
        lines = list(merges)
        source = "the merges list, item"
    pairs = []
    for number, line in enumerate(lines, start=1):
        if isinstance(line, str) and (line.startswith("#version:") or (line == "" and number == len(lines))):
            continue
        parts = line.split(" ") if isinstance(line, str) else list(line) if isinstance(line, Sequence) else []
        if len(parts) != 2 or not all(isinstance(part, str) and part and not _BREAKS & set(part) for part in parts):
            raise InputError(
                f"a merge must be two parts with one space between, {source} {number} is {line!r:.200}; correct it"
            )
        for part in parts:
            if not part.isascii():
                piece_bytes(part, f"{source} {number}")
        pairs.append((parts[0], parts[1]))
    return pairs
