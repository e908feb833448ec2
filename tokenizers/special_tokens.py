"""Special tokens written inside texts: cuts texts at them and joins the ids again."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.text_batch import TextBatch

# The white space of `str.isspace`, as UTF-8, by the number of bytes.
_SPACES = (
    rb"[\x09-\x0d\x1c-\x20]",
    rb"\xc2[\x85\xa0]",
    rb"\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80",
)


class Parts(NamedTuple):
    """texts: what stands between special tokens, as UTF-8. token_ids: int32, the special token after each, -1 for none.

    num_parts: int64 (num_texts,), how many parts each text was cut into.
    """

    texts: list[bytes]
    token_ids: np.ndarray
    num_parts: np.ndarray


def special_token_pattern(tokens: Iterable[str], spaced_token: str | None) -> bytes:
    """A regular expression for the tokens, the longest first; `spaced_token` takes the white space before it along."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    alternatives = [re.escape(token.encode()) for token in longest_first]
    if spaced_token is not None:
        # The look-behinds keep a long run of spaces from being tried at each of its places.
        before = b"".join(b"(?<!" + space + b")" for space in _SPACES)
        spaces = b"(?:" + b"|".join(_SPACES) + b")+"
        alternatives.insert(0, before + spaces + re.escape(spaced_token.encode()))
    return b"|".join(alternatives)


def split_texts(batch: TextBatch, special_ids: Mapping[str, int], spaced_token: str | None) -> Parts:
    pattern = re.compile(b"(" + special_token_pattern(special_ids, spaced_token) + b")")
    ids = {token.encode(): token_id for token, token_id in special_ids.items()}
    spaced = b"" if spaced_token is None else spaced_token.encode()
    parts: list[bytes] = []
    token_ids: list[int] = []
    num_parts: list[int] = []
    for text in texts_of(batch):
        # Text and special token by turns, text first and last.
        pieces = pattern.split(text)
        parts += pieces[0::2]
        token_ids += [ids[piece if piece in ids else spaced] for piece in pieces[1::2]]
        token_ids.append(-1)
        num_parts.append(len(pieces) // 2 + 1)
    return Parts(parts, np.array(token_ids, dtype=np.int32), np.array(num_parts, dtype=np.int64))


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
