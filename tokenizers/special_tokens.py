"""Tokens written inside texts: cuts texts at them and joins the ids again."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.kernels import unicode_tables
from clozekit.tokenizers.kernels.added_tokens_kernel import find_tokens
from clozekit.tokenizers.kernels.trie import build_trie

# Unicode's White_Space as UTF-8, which is \s of the expressions in Hugging Face's library; str.isspace takes more.
_SPACE = rb"(?:[\x09-\x0d ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
_SPACES_AFTER = re.compile(_SPACE + rb"+")
_LAST_SPACE = re.compile(_SPACE + rb"\Z")
# Letters, marks and the like are \w of those expressions; of the symbols, these.
_WORD_SYMBOLS = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189), (0x200C, 0x200D))


class Parts(NamedTuple):
    """texts: what stands between the tokens. token_ids: int32, the token after each, -1 for none.

    num_parts: int64 (num_texts,), how many parts each text was cut into.
    """

    texts: TextBatch
    token_ids: np.ndarray
    num_parts: np.ndarray


class TokenFinder:
    """Finds tokens that are written in texts, all in one stage: as they stand there, or in normalised texts.

    patterns: what is looked for, one for each token. Raises InputError for two that are alike.
    """

    def __init__(self, tokens: Sequence[AddedToken], ids: Sequence[int], patterns: Sequence[bytes]) -> None:
        rows: dict[bytes, int] = {}
        for index, pattern in enumerate(patterns):
            # Of some tokens normalisation leaves nothing: they have an id and are never found.
            if pattern and rows.setdefault(pattern, index) != index:
                raise InputError(
                    f"two added tokens must not be alike, {tokens[rows[pattern]].content!r:.80} and"
                    f" {tokens[index].content!r:.80} are after normalisation; leave one out"
                )
        self._tokens = list(tokens)
        self._ids = np.array(ids, dtype=np.int32)
        self._patterns = rows
        self._flags = [token.has_flags() for token in tokens]
        self._shortest = min(map(len, rows), default=1)

    @functools.cached_property
    def _compiled(self) -> tuple[np.ndarray, np.ndarray]:
        is_first = np.zeros(256, dtype=np.bool_)
        is_first[[pattern[0] for pattern in self._patterns]] = True
        return build_trie(list(self._patterns), list(self._patterns.values())), is_first

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def split(self, batch: TextBatch) -> Parts | None:
        """The parts of the texts, or None when no token is in them."""
        if not self._patterns:
            return None
        first, last = int(batch.offsets[0]), int(batch.offsets[-1])
        # Pages that stay empty cost nothing.
        found = np.empty(((last - first) // self._shortest + 1, 4), dtype=np.int64)
        found = found[: find_tokens(batch.data, batch.offsets, *self._compiled, found)]
        if len(found) and any(self._flags[index] for index in np.unique(found[:, 3]).tolist()):
            found = self._by_flags(batch, found)
        if not len(found):
            return None
        texts, starts, ends, tokens = found.T
        num_parts = np.bincount(texts, minlength=len(batch.offsets) - 1) + 1
        is_last = np.zeros(int(num_parts.sum()), dtype=bool)
        is_last[np.cumsum(num_parts) - 1] = True
        part_ends = np.empty(len(is_last), dtype=np.int64)
        part_ends[is_last], part_ends[~is_last] = batch.offsets[1:], starts
        part_starts = np.empty(len(is_last), dtype=np.int64)
        is_begin = np.roll(is_last, 1)
        part_starts[is_begin], part_starts[~is_begin] = batch.offsets[:-1], ends
        token_ids = np.full(len(is_last), -1, dtype=np.int32)
        token_ids[~is_last] = self._ids[tokens]
        # Bytes that are in no token: between -1 where one begins and +1 where it ends.
        steps = np.zeros(last - first + 1, dtype=np.int32)
        np.add.at(steps, starts - first, -1)
        np.add.at(steps, ends - first, 1)
        kept = batch.data[first:last][np.cumsum(steps[:-1]) == 0]
        kept.flags.writeable = False
        offsets = np.zeros(len(is_last) + 1, dtype=np.int64)
        np.cumsum(part_ends - part_starts, out=offsets[1:])
        return Parts(TextBatch(kept, offsets), token_ids, num_parts)

    def _by_flags(self, batch: TextBatch, found: np.ndarray) -> np.ndarray:
        """The tokens that stay, with the white space they take along."""
        rows: list[tuple[int, int, int, int]] = []
        before_text, before = -1, 0
        for text, start, end, index in found.tolist():
            first, last = int(batch.offsets[text]), int(batch.offsets[text + 1])
            if text != before_text:
                before_text, before = text, first
            token = self._tokens[index]
            if token.single_word and (
                _ends_with_word(batch.data, first, start) or _starts_with_word(batch.data, end, last)
            ):
                continue
            if token.lstrip:
                start = _before_spaces(batch.data, before, start)
            if token.rstrip and (spaces := _SPACES_AFTER.match(batch.data.data, end, last)):
                end = spaces.end()
            # What took the white space may have taken the first of this one.
            rows.append((text, max(start, before), max(end, before), index))
            before = max(end, before)
        return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _before_spaces(data: np.ndarray, first: int, end: int) -> int:
    """Where the white space before `end` begins."""
    while end > first and (space := _LAST_SPACE.search(data[max(first, end - 3) : end].tobytes())):
        end -= space.end() - space.start()
    return end


def _ends_with_word(data: np.ndarray, first: int, end: int) -> bool:
    text = data[max(first, end - 4) : end].tobytes()
    start = next((place for place in range(len(text) - 1, -1, -1) if text[place] & 0xC0 != 0x80), 0)
    return _is_word(text[start:])


def _starts_with_word(data: np.ndarray, start: int, last: int) -> bool:
    text = data[start : min(last, start + 4)].tobytes()
    end = next((place for place in range(1, len(text)) if text[place] & 0xC0 != 0x80), len(text))
    return _is_word(text[:end])


def _is_word(character: bytes) -> bool:
    """Whether the bytes are one character of a word: a letter, mark, decimal number, joiner or "_"."""
    try:
        text = character.decode()
    except UnicodeDecodeError:
        return False
    if len(text) != 1:
        return False
    code = ord(text)
    properties = int(unicode_tables.unicode_tables().properties[code])
    if properties & (unicode_tables.LETTER | unicode_tables.NONSPACING_MARK):
        return True
    if any(low <= code <= high for low, high in _WORD_SYMBOLS):
        return True
    category = unicodedata.category(text)
    return category in ("Mn", "Mc", "Me", "Nd", "Nl", "Pc")


def texts_of(batch: TextBatch) -> Iterable[bytes]:
    """The bytes of each text."""
    data, offsets = batch.data.tobytes(), batch.offsets.tolist()
    return (data[start:end] for start, end in zip(offsets[:-1], offsets[1:], strict=True))


def join_parts(parts: Parts, token_ids: np.ndarray, row_lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ids, row lengths) of the texts from those of their parts."""
    present = parts.token_ids >= 0
    lengths = row_lengths + present
    joined = np.empty(int(lengths.sum()), dtype=np.int32)
    is_special = np.zeros(len(joined), dtype=bool)
    is_special[(np.cumsum(lengths) - 1)[present]] = True
    joined[is_special] = parts.token_ids[present]
    joined[~is_special] = token_ids
    ends = np.concatenate([[0], np.cumsum(parts.num_parts)])
    totals = np.concatenate([[0], np.cumsum(lengths)])
    return joined, np.diff(totals[ends])
