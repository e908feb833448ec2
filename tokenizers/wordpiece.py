"""WordPiece: BERT's normalisation, words, and greedy longest-match pieces."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.vocabulary_files import piece_bytes, pieces_of
from clozekit.tokenizers.kernels.bert_tables import PUNCT, REMOVED, SPLIT, BertTables, bert_tables
from clozekit.tokenizers.kernels.trie import BASE, CHECK, NO_STATE, build_trie
from clozekit.tokenizers.kernels.unicode_tables import unicode_tables
from clozekit.tokenizers.kernels.word_cache import new_word_cache
from clozekit.tokenizers.kernels.wordpiece_kernel import (
    MAX_WORD_CHARACTERS,
    OTHER,
    PLAIN,
    PUNCT_BYTE,
    SPACE_BYTE,
    encode_wordpiece,
)
from clozekit.tokenizers.tokenizer import TokenBatch, Tokenizer

__all__ = ["MAX_WORD_CHARACTERS", "SUFFIX_INDICATOR", "VOCABULARY_FILE", "WordPieceTokenizer"]

VOCABULARY_FILE = "vocabulary.txt"
SUFFIX_INDICATOR = "##"


class _Compiled(NamedTuple):
    """What the kernel reads: classes, lower case and ids of single bytes, the trie, the word cache."""

    byte_class: np.ndarray
    byte_lower: np.ndarray
    byte_ids: np.ndarray
    tables: BertTables
    units: np.ndarray
    suffix_state: int
    cache: np.ndarray


class WordPieceTokenizer(Tokenizer):
    """Greedy longest-match-first pieces of words, as in google-research/bert `tokenization.py`.

    What `tokenize` and `encode_batch` give, and the other errors: see `Tokenizer`.

    Args:
        vocabulary: path of a `vocab.txt`, a list of pieces (index = id), or a dict piece -> id; None: `load_assets` follows.
        lowercase: lower-case the text.
        strip_accents: decompose the text and drop its accents; None does what BERT does, which is what `lowercase` says.
        split: False takes each text as one word; then `tokenize` takes the words of one text, or of several (a list of lists).
        split_on_cjk: CJK ideographs are words.
        suffix_indicator: what a piece inside a word begins with.
        oov_token: the piece of a word that cannot be made of pieces, or has more than 100 characters.
        special_tokens: more than those of the family.

    Raises:
        InputError: for an empty suffix_indicator, or a vocabulary without `oov_token` or a special token.

    Source: Wu et al. 2016 (arXiv 1609.08144), section 4.1; the code of BERT, `tokenization.py`.

    Example:

        >>> from clozekit.tokenizers.wordpiece import WordPieceTokenizer
        >>> tokenizer = WordPieceTokenizer(["[UNK]", "the", "qu", "##ick", "fox", "."], lowercase=True)
        >>> tokenizer.tokenize("The quick fox.").tolist()
        [1, 2, 3, 4, 5]
    """

    asset_files: ClassVar[tuple[str, ...]] = (VOCABULARY_FILE,)

    def __init__(
        self,
        vocabulary: str | Path | Sequence[str] | Mapping[str, int] | None = None,
        sequence_length: int | None = None,
        lowercase: bool = False,
        strip_accents: bool | None = None,
        split: bool = True,
        split_on_cjk: bool = True,
        suffix_indicator: str = SUFFIX_INDICATOR,
        oov_token: str = "[UNK]",
        special_tokens: Sequence[str] | None = None,
        special_tokens_in_strings: bool = False,
        dtype: str = "int32",
        added_tokens: Sequence[AddedToken | dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(sequence_length, special_tokens_in_strings, dtype, added_tokens)
        if not suffix_indicator:
            raise InputError('suffix_indicator must not be empty, got ""; BERT\'s is "##"')
        piece_bytes(suffix_indicator, "suffix_indicator")
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.split = split
        self.split_on_cjk = split_on_cjk
        self.suffix_indicator = suffix_indicator
        self.oov_token = oov_token
        self.unknown_token = oov_token
        self._more_special_tokens = list(special_tokens or [])
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    def set_vocabulary(self, vocabulary: str | Path | Sequence[str] | Mapping[str, int]) -> None:
        """Takes another vocabulary. Raises InputError for one that lacks a special token."""
        pieces, source = pieces_of(vocabulary)
        self._check_pieces(pieces, [self.oov_token, *self.special_tokens], source)
        self._set_pieces(pieces)

    @property
    def special_tokens(self) -> list[str]:
        return list(dict.fromkeys([*self.special_token_names.values(), *self._more_special_tokens]))

    def tokenize(self, inputs: Any) -> Any:
        """See `Tokenizer.tokenize`. Without `split`, several str are the words of one text, whose ids are given flat."""
        if self.split or isinstance(inputs, str):
            return super().tokenize(inputs)
        if type(inputs).__module__.startswith("tensorflow"):
            from clozekit.tokenizers import graph

            self._check_vocabulary()
            return graph.tokenize_words(self, inputs)
        nested = len(inputs) > 0 and not isinstance(inputs[0], str | bytes)
        texts = [list(words) for words in inputs] if nested else [list(inputs)]
        batch = self.encode_batch([word for words in texts for word in words])
        # Where in the ids each word ends, and so each text.
        ends = np.concatenate([[0], np.cumsum(batch.row_lengths)])
        cuts = ends[np.cumsum([len(words) for words in texts])]
        return self._tokens(np.split(batch.token_ids, cuts[:-1]), single=not nested)

    def word_starts(self) -> np.ndarray:
        special = set(self.special_tokens) - {self.oov_token}
        suffix = self.suffix_indicator
        pieces = self._check_vocabulary()
        return self._with_added_starts([not piece.startswith(suffix) and piece not in special for piece in pieces])

    def keras_hub_config(self) -> dict[str, Any]:
        return {
            "vocabulary": None,
            "sequence_length": self.sequence_length,
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "split": self.split,
            "suffix_indicator": self.suffix_indicator,
            "oov_token": self.oov_token,
            "special_tokens": self._more_special_tokens or None,
            "special_tokens_in_strings": self.special_tokens_in_strings,
            **self.added_config(),
        }

    def own_options(self) -> dict[str, Any]:
        # KerasHub's config forgets it.
        options: dict[str, Any] = {} if self.split_on_cjk else {"split_on_cjk": False}
        return {**options, **self._added_options()}

    def save_assets(self, directory: str | Path) -> None:
        self._check_vocabulary()
        pieces = list(self._own_ids)
        broken = next((piece for piece in pieces if "\n" in piece or piece.endswith("\r")), None)
        if broken is not None:
            raise InputError(
                f"a {VOCABULARY_FILE} holds a piece a line, the piece {broken!r:.200} does not fit on one; leave it out"
            )
        text = "".join(f"{piece}\n" for piece in pieces)
        (Path(directory) / VOCABULARY_FILE).write_bytes(text.encode())

    def load_assets(self, directory: str | Path) -> None:
        self.set_vocabulary(Path(directory) / VOCABULARY_FILE)

    @functools.cached_property
    def _compiled(self) -> _Compiled:
        tables = bert_tables(self.lowercase, self.strip_accents, self.split, self.split_on_cjk)
        self._check_vocabulary()
        pieces = [piece.encode() for piece in self._own_ids]
        units = build_trie(pieces, range(len(pieces)))
        suffix_state = 0
        for byte in self.suffix_indicator.encode():
            following = int(units[suffix_state, BASE]) + byte
            if units[following, CHECK] != suffix_state:
                suffix_state = NO_STATE
                break
            suffix_state = following
        classes = {SPLIT: SPACE_BYTE, PUNCT: PUNCT_BYTE, REMOVED: OTHER}
        byte_class = np.full(256, OTHER, dtype=np.uint8)
        byte_class[:128] = [classes.get(int(kind), PLAIN) for kind in tables.kinds[:128]]
        byte_lower = np.arange(256, dtype=np.uint8)
        if self.lowercase:
            byte_lower[:128] = [ord(chr(byte).lower()) for byte in range(128)]
        unknown = self._ids[self.oov_token]
        byte_ids = np.array([self._own_ids.get(chr(byte), unknown) for byte in range(256)], dtype=np.int32)
        return _Compiled(byte_class, byte_lower, byte_ids, tables, units, suffix_state, new_word_cache())

    def _encode(self, batch: TextBatch) -> TokenBatch:
        compiled, properties = self._compiled, unicode_tables()
        # Never more pieces than bytes; pages that stay empty cost nothing.
        token_ids = np.empty(int(batch.offsets[-1] - batch.offsets[0]), dtype=np.int32)
        row_lengths = np.empty(len(batch.offsets) - 1, dtype=np.int64)
        num_ids = encode_wordpiece(
            batch.data,
            batch.offsets,
            compiled.byte_class,
            compiled.byte_lower,
            compiled.byte_ids,
            compiled.tables.kinds,
            compiled.tables.expansion,
            compiled.tables.expanded,
            properties.properties,
            properties.combining_class,
            compiled.units,
            compiled.suffix_state,
            self._ids[self.oov_token],
            compiled.cache,
            token_ids,
            row_lengths,
        )
        return TokenBatch(token_ids[:num_ids].copy(), row_lengths)

    def _normalizer(self) -> Callable[[bytes], bytes]:
        settings = (self.lowercase, self.strip_accents, self.split_on_cjk)
        return lambda text: _bert_normalizer(*settings).normalize_str(text.decode("utf-8", "replace")).encode()

    def _decode(self, token_ids: list[int]) -> str:
        pieces = self._check_vocabulary()
        words: list[str] = []
        for token_id in token_ids:
            piece = pieces[token_id]
            if piece.startswith(self.suffix_indicator) and words:
                words[-1] += piece.removeprefix(self.suffix_indicator)
            else:
                words.append(piece)
        return " ".join(words)


@functools.cache
def _bert_normalizer(lowercase: bool, strip_accents: bool, split_on_cjk: bool) -> Any:
    """Hugging Face's, for the tokens that are looked for in normalised text: they are found as it finds them."""
    from tokenizers.normalizers import BertNormalizer

    return BertNormalizer(True, split_on_cjk, strip_accents, lowercase)
