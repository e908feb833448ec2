"""WordPiece: BERT's normalisation, words, and greedy longest-match pieces."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.tokenizer import TokenBatch, Tokenizer

VOCABULARY_FILE = "vocabulary.txt"
SUFFIX_INDICATOR = "##"
# A word longer than this becomes one unknown piece (google-research/bert, tokenization.py).
MAX_WORD_CHARACTERS = 100


def read_vocabulary(path: str | Path) -> list[str]:
    """Pieces of a `vocab.txt`, one a line, the line number being the id."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"a vocabulary file must be UTF-8, {path} is not at byte {error.start}; convert it") from error
    # Only "\n" ends a line: a piece may itself hold any other Unicode space.
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def check_vocabulary(pieces: Sequence[str], special_tokens: Iterable[str], source: str) -> None:
    """Raises InputError for an empty or repeated piece or a missing special token, with the line it stands on."""
    first_seen: dict[str, int] = {}
    for number, piece in enumerate(pieces, start=1):
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


class WordPieceTokenizer(Tokenizer):
    """Greedy longest-match-first pieces of words, as in google-research/bert `tokenization.py`.

    vocabulary: path of a `vocab.txt`, a list of pieces (index = id), or a dict piece -> id.
    lowercase: lower-case the text and, as BERT does, drop its accents.
    """

    def __init__(
        self,
        vocabulary: str | Path | Sequence[str] | dict[str, int],
        lowercase: bool = False,
        oov_token: str = "[UNK]",
    ) -> None:
        if isinstance(vocabulary, str | Path):
            pieces, source = read_vocabulary(vocabulary), str(vocabulary)
        elif isinstance(vocabulary, dict):
            pieces, source = sorted(vocabulary, key=lambda piece: vocabulary[piece]), "the vocabulary dict"
            if [vocabulary[piece] for piece in pieces] != list(range(len(pieces))):
                raise InputError("the ids of a vocabulary dict must be 0, 1, 2, ... without gaps; renumber them")
        else:
            pieces, source = list(vocabulary), "the vocabulary list"
        check_vocabulary(pieces, dict.fromkeys([oov_token, *self.special_token_names.values()]), source)
        self.lowercase = lowercase
        self.oov_token = oov_token
        self._pieces = pieces
        self._ids = {piece: token_id for token_id, piece in enumerate(pieces)}
        self._rust = RustTokenizer(
            models.WordPiece(self._ids, unk_token=oov_token, max_input_chars_per_word=MAX_WORD_CHARACTERS)
        )
        self._rust.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self._rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def encode_batch(self, texts: Sequence[str]) -> TokenBatch:
        encodings = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        rows = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        flat = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32, count=int(lengths.sum()))
        return TokenBatch(flat, lengths)

    def decode(self, token_ids: Sequence[int]) -> str:
        words: list[str] = []
        for token_id in token_ids:
            piece = self.id_to_token(int(token_id))
            if piece.startswith(SUFFIX_INDICATOR) and words:
                words[-1] += piece.removeprefix(SUFFIX_INDICATOR)
            else:
                words.append(piece)
        return " ".join(words)

    def word_starts(self) -> np.ndarray:
        special = set(self.special_token_names.values()) - {self.oov_token}
        return np.array([not piece.startswith(SUFFIX_INDICATOR) and piece not in special for piece in self._pieces])

    def token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids[self.oov_token])

    def get_config(self) -> dict[str, Any]:
        return {"lowercase": self.lowercase, "strip_accents": self.lowercase, "oov_token": self.oov_token}

    def save_assets(self, directory: Path) -> None:
        (directory / VOCABULARY_FILE).write_text("".join(f"{piece}\n" for piece in self._pieces), encoding="utf-8")

    @classmethod
    def from_assets(cls, directory: Path, config: dict[str, Any]) -> "WordPieceTokenizer":
        return cls(directory / VOCABULARY_FILE, lowercase=config["lowercase"], oov_token=config["oov_token"])
