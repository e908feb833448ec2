"""Byte-level BPE: GPT-2's words, each a run of bytes whose pairs are merged by rank."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch, decode_text
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.vocabulary_files import merges_of, pieces_of
from clozekit.tokenizers.kernels import unicode_tables
from clozekit.tokenizers.kernels.byte_pair_kernel import (
    EMPTY,
    LETTER,
    MULTIBYTE,
    NUMBER,
    SPACE,
    encode_byte_pairs,
    fill_merges,
)
from clozekit.tokenizers.kernels.word_cache import new_word_cache
from clozekit.tokenizers.tokenizer import TokenBatch, Tokenizer

VOCABULARY_FILE = "vocabulary.json"
MERGES_FILE = "merges.txt"


@functools.cache
def byte_characters() -> tuple[str, ...]:
    """The character that stands for each byte in pieces (GPT-2): itself where it is visible, else from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    characters = {byte: chr(byte) for byte in visible} | {byte: chr(0x100 + i) for i, byte in enumerate(others)}
    return tuple(characters[byte] for byte in range(256))


@functools.cache
def byte_of_character() -> dict[str, int]:
    """`byte_characters` backwards."""
    return {character: byte for byte, character in enumerate(byte_characters())}


@functools.cache
def code_point_kinds() -> np.ndarray:
    """uint8 (0x110000,): LETTER, NUMBER, SPACE or 0 (OTHER) for each code point."""
    properties = unicode_tables.unicode_tables().properties
    kinds = np.zeros(len(properties), dtype=np.uint8)
    kinds[properties & unicode_tables.LETTER != 0] = LETTER
    kinds[properties & unicode_tables.NUMBER != 0] = NUMBER
    kinds[properties & unicode_tables.SPACE != 0] = SPACE
    return kinds


@functools.cache
def byte_kinds() -> np.ndarray:
    """uint8 (256,): the kind of each byte of ASCII; MULTIBYTE for the others, which do not say alone."""
    kinds = np.full(256, MULTIBYTE, dtype=np.uint8)
    kinds[:128] = code_point_kinds()[:128]
    return kinds


class _Compiled(NamedTuple):
    """What the kernel reads. A symbol is a piece's id, or a larger number for a part that is no piece."""

    byte_kind: np.ndarray
    byte_symbols: np.ndarray
    merges: np.ndarray
    ordered: bool
    final_ids: np.ndarray
    cache: np.ndarray


class BytePairTokenizer(Tokenizer):
    """Byte-level BPE as in GPT-2 and RoBERTa: every text has ids, and `decode` gives the text back.

    A merge may make or use parts that are not in the vocabulary; where such a part is left at the end it becomes `<unk>`, or
    nothing if the vocabulary has no `<unk>`. What `tokenize` and `encode_batch` give, and the other errors: see `Tokenizer`.

    Args:
        vocabulary: path of a `vocab.json`, a list of pieces, or a dict piece -> id; None: `load_assets` follows.
        merges: path of a `merges.txt` or a list of "left right".
        add_prefix_space: put a space before a text that starts with none.
        unsplittable_tokens: pieces that are found in texts whatever `special_tokens_in_strings` says.
        drops_unknown: an unknown part becomes nothing, as in Hugging Face's library where its model has no `unk_token`.

    Raises:
        InputError: for one of vocabulary and merges without the other, or a vocabulary that lacks a special token.

    Source: Sennrich et al. 2015 (arXiv 1508.07909), section 3.2; on bytes, with GPT-2's words, in its `encoder.py`.

    Example:

        >>> from clozekit.tokenizers.byte_pair import BytePairTokenizer
        >>> tokenizer = BytePairTokenizer({"a": 0, "Ġ": 1, "b": 2, "Ġa": 3}, ["Ġ a"])
        >>> tokenizer.tokenize("a ab").tolist()
        [0, 3, 2]
    """

    asset_files: ClassVar[tuple[str, ...]] = (VOCABULARY_FILE, MERGES_FILE)

    unknown_token = "<unk>"
    space_before_word = " "

    def __init__(
        self,
        vocabulary: str | Path | Sequence[str] | Mapping[str, int] | None = None,
        merges: str | Path | Iterable[str | Sequence[str]] | None = None,
        sequence_length: int | None = None,
        add_prefix_space: bool = False,
        unsplittable_tokens: Sequence[str] | None = None,
        special_tokens_in_strings: bool = False,
        dtype: str = "int32",
        added_tokens: Sequence[AddedToken | dict[str, Any]] | None = None,
        drops_unknown: bool = False,
    ) -> None:
        super().__init__(sequence_length, special_tokens_in_strings, dtype, added_tokens)
        self.add_prefix_space = add_prefix_space
        self.drops_unknown = drops_unknown
        # KerasHub writes the special tokens here; ours follow `special_tokens_in_strings`.
        self.unsplittable_tokens = [token for token in unsplittable_tokens or [] if token not in self.special_tokens]
        self._merges: list[tuple[str, str]] = []
        if (vocabulary is None) != (merges is None):
            raise InputError("vocabulary and merges belong together, got one of them; pass both or load_assets")
        if vocabulary is not None and merges is not None:
            self.set_vocabulary_and_merges(vocabulary, merges)

    def set_vocabulary_and_merges(
        self,
        vocabulary: str | Path | Sequence[str] | Mapping[str, int],
        merges: str | Path | Iterable[str | Sequence[str]],
    ) -> None:
        """Takes another vocabulary. Raises InputError for one that lacks a special token."""
        pieces, source = pieces_of(vocabulary)
        self._check_pieces(pieces, [*self.special_tokens, *self.unsplittable_tokens], source)
        self._merges = merges_of(merges)
        self._set_pieces(pieces)

    @property
    def merges(self) -> Sequence[tuple[str, str]]:
        """The pairs of pieces that are joined, the first one first."""
        return self._merges

    def word_starts(self) -> np.ndarray:
        """A piece starts a word if it begins with white space: a space, or a line break or tab.

        The first word of a text has nothing before it and so no mark: whoever masks adds position 0.
        """
        spaces = tuple(byte_characters()[byte] for byte in b" \t\n\v\f\r")
        return self._with_added_starts([piece.startswith(spaces) for piece in self._check_vocabulary()])

    def keras_hub_config(self) -> dict[str, Any]:
        return {
            "sequence_length": self.sequence_length,
            "add_prefix_space": self.add_prefix_space,
            "unsplittable_tokens": [*self.special_tokens, *self.unsplittable_tokens],
            **self.added_config(),
        }

    def own_options(self) -> dict[str, Any]:
        options = {"special_tokens_in_strings": self.special_tokens_in_strings, "drops_unknown": self.drops_unknown}
        return {**{name: True for name, is_set in options.items() if is_set}, **self._added_options()}

    def _algorithm_data(self) -> Any:
        return self._merges

    def _always_special(self) -> list[str]:
        return self.unsplittable_tokens

    def save_assets(self, directory: str | Path) -> None:
        self._check_vocabulary()
        (Path(directory) / VOCABULARY_FILE).write_bytes(json.dumps(self._own_ids).encode())
        merges = "".join(f"{left} {right}\n" for left, right in self._merges)
        (Path(directory) / MERGES_FILE).write_bytes(merges.encode())

    def load_assets(self, directory: str | Path) -> None:
        self.set_vocabulary_and_merges(Path(directory) / VOCABULARY_FILE, Path(directory) / MERGES_FILE)

    @functools.cached_property
    def _compiled(self) -> _Compiled:
        self._check_vocabulary()
        symbols = dict(self._own_ids)
        for part in [
            *byte_characters(),
            *(part for left, right in self._merges for part in (left, right, left + right)),
        ]:
            symbols.setdefault(part, len(symbols))
        num_slots = 1 << max(4, (2 * len(self._merges)).bit_length())
        merges = np.full((num_slots, 3), EMPTY, dtype=np.int64)
        sides = [np.array([symbols[merge[side]] for merge in self._merges], dtype=np.int32) for side in (0, 1)]
        joined = np.array([symbols[left + right] for left, right in self._merges], dtype=np.int32)
        fill_merges(merges, *sides, joined)
        unknown = -1 if self.drops_unknown else self._ids.get(self.unknown_token, -1)
        final_ids = np.full(len(symbols), unknown, dtype=np.int32)
        final_ids[: len(self._own_ids)] = np.arange(len(self._own_ids))
        byte_symbols = np.array([symbols[character] for character in byte_characters()], dtype=np.int32)
        return _Compiled(byte_kinds(), byte_symbols, merges, self._merges_are_ordered(), final_ids, new_word_cache())

    def _merges_are_ordered(self) -> bool:
        """Whether each merge stands after those that make its parts, and once."""
        made = set(byte_characters())
        for left, right in self._merges:
            if left not in made or right not in made or left + right in made:
                return False
            made.add(left + right)
        return True

    def _encode(self, batch: TextBatch) -> TokenBatch:
        compiled = self._compiled
        if self.add_prefix_space:
            batch = _with_spaces(batch)
        # Never more pieces than bytes; pages that stay empty cost nothing.
        token_ids = np.empty(int(batch.offsets[-1] - batch.offsets[0]), dtype=np.int32)
        row_lengths = np.empty(len(batch.offsets) - 1, dtype=np.int64)
        num_ids = encode_byte_pairs(
            batch.data,
            batch.offsets,
            compiled.byte_kind,
            code_point_kinds(),
            compiled.byte_symbols,
            compiled.merges,
            compiled.ordered,
            compiled.final_ids,
            compiled.cache,
            token_ids,
            row_lengths,
        )
        return TokenBatch(token_ids[:num_ids].copy(), row_lengths)

    def _decode(self, token_ids: list[int]) -> str:
        pieces = self._check_vocabulary()
        byte_of = byte_of_character()
        special = {*self.special_tokens, *self.unsplittable_tokens, *(token.content for token in self.added_tokens)}
        data = bytearray()
        for token_id in token_ids:
            piece = pieces[token_id]
            if piece in special:
                data += piece.encode()
            else:
                # A piece may hold a character that stands for no byte only if no text can give it.
                data += b"".join(
                    bytes([byte_of[character]]) if character in byte_of else character.encode() for character in piece
                )
        return decode_text(bytes(data))


def _with_spaces(batch: TextBatch) -> TextBatch:
    """The texts, each beginning with a space; nothing stays nothing, as in Hugging Face's library."""
    starts, lengths = batch.offsets[:-1], np.diff(batch.offsets)
    lacking = lengths > 0
    lacking[lacking] = batch.data[starts[lacking]] != ord(" ")
    data = np.insert(batch.data, starts[lacking], ord(" "))[int(batch.offsets[0]) :]
    data.flags.writeable = False
    offsets = np.zeros(len(batch.offsets), dtype=np.int64)
    np.cumsum(lengths + lacking, out=offsets[1:])
    return TextBatch(data, offsets)
