"""SentencePiece: Unigram (and WORD) models, normalised and segmented as the C++ library does it."""

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch, decode_text
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.sentence_piece_proto import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    WORD_MODEL,
    SentencePieceModel,
    read_model,
    read_proto,
)
from clozekit.tokenizers.formats.sentence_piece_rules import normalized_by, white_space_rules
from clozekit.tokenizers.kernels.charsmap import Charsmap, bytes_inside_rules, read_charsmap, starts_longer_rule
from clozekit.tokenizers.kernels.sentence_piece_kernel import (
    LARGEST_SUM,
    MAX_REMEMBERED_BYTES,
    RESTART,
    encode_sentence_pieces,
)
from clozekit.tokenizers.kernels.trie import build_trie
from clozekit.tokenizers.kernels.word_cache import new_word_cache
from clozekit.tokenizers.tokenizer import TokenBatch, Tokenizer

VOCABULARY_FILE = "vocabulary.spm"
SPACE = "▁"
# A word that is not remembered costs a hundred times one that is, so the cache is larger than the others': 16 MiB.
CACHE_ROW_BITS = 18
# sentencepiece's kUnkPenalty.
_UNKNOWN_PENALTY = np.float32(10)
_USER_DEFINED_STEP = np.float32(0.1)


class _Compiled(NamedTuple):
    """What the kernel reads, in the order of its arguments."""

    is_delimiter: np.ndarray
    plain: np.ndarray
    word_by_word: bool
    whole_words: bool
    settings: np.ndarray
    rules: np.ndarray
    replacements: np.ndarray
    symbols: np.ndarray
    units: np.ndarray
    scores: np.ndarray
    unknown_score: np.float32
    certain_above: float
    unknown_id: int
    final_ids: np.ndarray
    byte_ids: np.ndarray
    cache: np.ndarray


class SentencePieceTokenizer(Tokenizer):
    """Pieces of a SentencePiece model, the ids being those of the library (`sentencepiece` 0.2.3).

    A piece that the model declares user-defined is found in every text, whatever `special_tokens_in_strings` says: that is
    part of the model. What `tokenize` and `encode_batch` give, and the other errors: see `Tokenizer`.

    Args:
        proto: path of a `.model` or `.spm` file, or its bytes; None: `load_assets` follows.
        add_bos, add_eos: put the model's begin and end pieces around each text.

    Raises:
        InputError: for a model that is neither Unigram nor WORD, or lacks a special token or the piece of add_bos or add_eos.

    Source: Kudo 2018 (arXiv 1804.10959), section 3.2.

    Example:

        >>> from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
        >>> tokenizer = SentencePieceTokenizer("tiny/albert/assets/tokenizer/vocabulary.spm", dtype="string")
        >>> tokenizer.tokenize("The dog")
        ['▁', 't', 'h', 'e', '▁', 'd', 'o', 'g']
    """

    asset_files: ClassVar[tuple[str, ...]] = (VOCABULARY_FILE,)
    # The file of the model at Hugging Face.
    huggingface_model_file: ClassVar[str] = "spiece.model"

    def __init__(
        self,
        proto: str | Path | bytes | None = None,
        sequence_length: int | None = None,
        dtype: str = "int32",
        add_bos: bool = False,
        add_eos: bool = False,
        special_tokens_in_strings: bool = False,
        added_tokens: Sequence[AddedToken | dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(sequence_length, special_tokens_in_strings, dtype, added_tokens)
        self.add_bos = add_bos
        self.add_eos = add_eos
        self.proto: bytes | None = None
        if proto is not None:
            self.set_proto(proto)

    def set_proto(self, proto: str | Path | bytes) -> None:
        """Takes another model, a path or its bytes. Raises InputError for one that can't be read or lacks a special token."""
        data, source = read_proto(proto)
        model = read_model(data, source)
        pieces = self._pieces_of_model(model, source)
        self._check_pieces(pieces, self.special_tokens, source)
        self.proto = data
        self._model = model
        self.__dict__.pop("_without_rules", None)
        self.unknown_token = self._unknown_piece(model)
        self._set_pieces(pieces)
        for wanted, piece in ((self.add_bos, model.bos_piece), (self.add_eos, model.eos_piece)):
            if wanted and piece not in self._ids:
                raise InputError(f"add_bos and add_eos need the piece {piece!r}, {source} has none; leave them out")

    @property
    def model(self) -> SentencePieceModel:
        """What the model file holds."""
        return self._model

    def _pieces_of_model(self, model: SentencePieceModel, source: str) -> list[str]:
        """Our pieces by id: the model's own, unless a family numbers them otherwise."""
        return model.pieces

    def _unknown_piece(self, model: SentencePieceModel) -> str:
        return model.pieces[model.types.index(UNKNOWN)]

    def word_starts(self) -> np.ndarray:
        special = {*self.special_tokens, *self._control_pieces()} - {self.unknown_token}
        pieces = self._check_vocabulary()
        return self._with_added_starts([piece.startswith(SPACE) and piece not in special for piece in pieces])

    def drops_white_space(self) -> bool:
        model = self._model
        return model.remove_extra_whitespaces and model.add_dummy_prefix and bool(model.precompiled_charsmap)

    def user_defined_pieces(self) -> set[str]:
        """Pieces that the model finds in every text."""
        model = self._model
        return {piece for piece, kind in zip(model.pieces, model.types, strict=True) if kind == USER_DEFINED}

    def _control_pieces(self) -> set[str]:
        model = self._model
        return {piece for piece, kind in zip(model.pieces, model.types, strict=True) if kind == CONTROL}

    def keras_hub_config(self) -> dict[str, Any]:
        return {
            "proto": None,
            "sequence_length": self.sequence_length,
            "add_bos": self.add_bos,
            "add_eos": self.add_eos,
            **self.added_config(),
        }

    def own_options(self) -> dict[str, Any]:
        options = {"special_tokens_in_strings": True} if self.special_tokens_in_strings else {}
        return {**options, **self._added_options()}

    def _algorithm_data(self) -> Any:
        model = self._model
        return [model.scores, model.types, model.precompiled_charsmap.hex(), [str(value) for value in model[3:9]]]

    def save_assets(self, directory: str | Path) -> None:
        self._check_vocabulary()
        assert self.proto is not None
        (Path(directory) / VOCABULARY_FILE).write_bytes(self.proto)

    def load_assets(self, directory: str | Path) -> None:
        self.set_proto(Path(directory) / VOCABULARY_FILE)

    def _final_ids(self) -> np.ndarray:
        """int32: our id of each id of the model."""
        return np.array([self._ids[piece] for piece in self._model.pieces], dtype=np.int32)

    @functools.cached_property
    def _compiled(self) -> _Compiled:
        model = self._model
        encoded = [piece.encode() for piece in model.pieces]
        rows = list(zip(encoded, model.scores, model.types, range(len(encoded)), strict=True))
        charsmap = read_charsmap(model.precompiled_charsmap, "the model")
        user_defined = [(piece, index) for piece, _, kind, index in rows if kind == USER_DEFINED]
        matched = [(piece, index) for piece, _, kind, index in rows if kind in (NORMAL, USER_DEFINED)]
        scores = np.array(model.scores, dtype=np.float32).astype(np.float64)
        normal = np.array([score for _, score, kind, _ in rows if kind == NORMAL] or [0.0], dtype=np.float32)
        # The bonus that makes a user-defined piece win. Found by comparing tied paths behind such pieces of many lengths
        # with the library (0.2.3): its sources of 0.2.1 say `length * max_score - 0.1`, and no bonus below 0.
        bonus = max(normal.max(), _USER_DEFINED_STEP)
        for piece, index in user_defined:
            scores[index] = np.float32(len(piece)) * bonus - _USER_DEFINED_STEP
        unknown_score = np.float32(normal.min() - _UNKNOWN_PENALTY)
        byte_ids = np.zeros(256 if model.byte_fallback else 0, dtype=np.int32)
        final_ids = self._final_ids()
        if model.byte_fallback:
            for piece, _, kind, index in rows:
                if kind == BYTE:
                    byte_ids[int(piece[3:5], 16)] = final_ids[index]
        delimiters = self._delimiters(charsmap, [piece for piece, _ in user_defined])
        return _Compiled(
            plain=self._plain(charsmap, [piece for piece, _ in user_defined]),
            is_delimiter=np.isin(np.arange(256), list(delimiters)),
            word_by_word=bool(delimiters) and self._is_word_by_word([piece for piece, _ in matched]),
            whole_words=model.model_type == WORD_MODEL,
            settings=np.array(
                [
                    model.add_dummy_prefix,
                    model.remove_extra_whitespaces,
                    model.escape_whitespaces,
                    model.treat_whitespace_as_suffix,
                ]
            ),
            rules=charsmap.rules,
            replacements=charsmap.replacements,
            symbols=build_trie(*_columns(user_defined)),
            units=build_trie(*_columns(matched)),
            scores=scores,
            unknown_score=unknown_score,
            certain_above=self._certain_above(scores, unknown_score),
            unknown_id=model.types.index(UNKNOWN),
            final_ids=final_ids,
            byte_ids=byte_ids,
            cache=new_word_cache(CACHE_ROW_BITS),
        )

    @staticmethod
    def _certain_above(scores: np.ndarray, unknown_score: np.float32) -> float:
        """The sum above which no word remembered can reach the restart, inf if sums may leave the range at all."""
        largest_word = MAX_REMEMBERED_BYTES * max(float(np.abs(scores).max()), abs(float(unknown_score)))
        usual = scores.max() <= 0 and largest_word - float(RESTART) < LARGEST_SUM
        return float(RESTART) + largest_word if usual else float("inf")

    @staticmethod
    def _plain(charsmap: Charsmap, user_defined: Sequence[bytes]) -> np.ndarray:
        plain = np.zeros(256, dtype=np.uint8)
        if not bytes_inside_rules(charsmap.rules):
            starts = {piece[0] for piece in user_defined}
            for byte in range(0x21, 0x7F):
                replacement = _replacement(charsmap, byte)
                if byte not in starts and len(replacement) == 1 and 0x20 < replacement[0] < 0x7F:
                    plain[byte] = replacement[0]
        return plain

    def _delimiters(self, charsmap: Charsmap, user_defined: Sequence[bytes]) -> set[int]:
        """ASCII bytes that are always one space to the normaliser, so that texts may be cut there."""
        inside = bytes_inside_rules(charsmap.rules) | set(b"".join(user_defined))
        replaced = {byte: _replacement(charsmap, byte) for byte in range(1, 128)}
        return {
            byte
            for byte, replacement in replaced.items()
            if replacement == b" " and byte not in inside and not starts_longer_rule(charsmap, byte)
        }

    def _is_word_by_word(self, matched: Sequence[bytes]) -> bool:
        """Whether no piece goes across the start of a word, and the normaliser does nothing that would join words."""
        model = self._model
        space = SPACE.encode()
        usual = model.add_dummy_prefix and model.remove_extra_whitespaces and model.escape_whitespaces
        return (
            usual
            and not model.treat_whitespace_as_suffix
            and all(space not in piece[1:] for piece in matched)
            and b"  " not in model.precompiled_charsmap
            and space not in model.precompiled_charsmap
        )

    def _encode(self, batch: TextBatch) -> TokenBatch:
        compiled = self._compiled
        num_texts = len(batch.offsets) - 1
        row_lengths = np.empty(num_texts, dtype=np.int64)
        # Normalisation can make a text longer, so this is a guess and the kernel may ask for more.
        token_ids = np.empty(int(batch.offsets[-1] - batch.offsets[0]) + 1024, dtype=np.int32)
        num_ids = text = 0
        while True:
            num_ids, text = encode_sentence_pieces(
                batch.data, batch.offsets, text, num_ids, *compiled, token_ids, row_lengths
            )
            if text == num_texts:
                break
            token_ids = np.concatenate([token_ids, np.empty(len(token_ids), dtype=np.int32)])
        encoded = TokenBatch(token_ids[:num_ids].copy(), row_lengths)
        return self._add_ends(encoded) if self.add_bos or self.add_eos else encoded

    def _normalizer(self) -> Callable[[bytes], bytes] | None:
        rules = self._model.precompiled_charsmap
        if not rules or rules == white_space_rules():
            return None
        return lambda text: normalized_by(rules, text.decode("utf-8", "replace")).encode()

    def _encode_normalized(self, batch: TextBatch) -> TokenBatch:
        return self._without_rules._encode(batch)

    @functools.cached_property
    def _without_rules(self) -> "SentencePieceTokenizer":
        """The same tokenizer for texts that the rules have changed already."""
        other = copy.copy(self)
        other.__dict__.pop("_compiled", None)
        other._model = self._model._replace(precompiled_charsmap=b"")
        return other

    def _add_ends(self, encoded: TokenBatch) -> TokenBatch:
        ends = np.cumsum(encoded.row_lengths)
        places, values = [], []
        if self.add_bos:
            places.append(ends - encoded.row_lengths)
            values.append(np.full(len(ends), self._ids[self._model.bos_piece]))
        if self.add_eos:
            places.append(ends)
            values.append(np.full(len(ends), self._ids[self._model.eos_piece]))
        # Text by text, begin before end: `insert` keeps this order where a text is empty and the places are equal.
        token_ids = np.insert(encoded.token_ids, np.stack(places, axis=1).ravel(), np.stack(values, axis=1).ravel())
        return TokenBatch(token_ids.astype(np.int32), encoded.row_lengths + len(places))

    def _decode(self, token_ids: list[int]) -> str:
        pieces = self._check_vocabulary()
        special = {*self.special_tokens} - {self.unknown_token}
        added = {token.content for token in self.added_tokens} - {self.unknown_token}
        control = self._control_pieces() - special - added
        byte_pieces = {piece for piece, kind in zip(self._model.pieces, self._model.types, strict=True) if kind == BYTE}
        data = bytearray()
        for token_id in token_ids:
            piece = pieces[token_id]
            if piece in control:
                continue
            if piece in added:
                data += piece.encode()
            elif piece in byte_pieces:
                data.append(int(piece[3:5], 16))
            elif piece == self.unknown_token:
                data += self._model.unknown_surface.encode()
            else:
                data += piece.replace(SPACE, " ").encode()
        text = decode_text(bytes(data))
        return text[1:] if self._model.add_dummy_prefix and text.startswith(" ") else text


def _columns(rows: Sequence[tuple[bytes, int]]) -> tuple[list[bytes], list[int]]:
    return [piece for piece, _ in rows], [index for _, index in rows]


def _replacement(charsmap: Charsmap, byte: int) -> bytes:
    """What the normaliser makes of one ASCII character alone."""
    rules = charsmap.rules
    node = _offset(int(rules[0])) ^ byte
    if node >= len(rules) or int(rules[node]) & 0x800000FF != byte or not int(rules[node]) >> 8 & 1:
        return bytes([byte])
    place = int(rules[node ^ _offset(int(rules[node]))]) & 0x7FFFFFFF
    return bytes(charsmap.replacements[place : place + 300]).split(b"\0")[0]


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 1 << 9) >> 6)
