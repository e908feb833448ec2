"""Special tokens written inside texts: cuts texts at them and joins the ids again."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Parts(NamedTuple):
    """texts: what stands between special tokens. token_ids: int32, the special token after each, -1 for none.

    num_parts: int64 (num_texts,), how many parts each text was cut into.
    """

    texts: list[str]
    token_ids: np.ndarray
    num_parts: np.ndarray


def special_token_pattern(tokens: Iterable[str], spaced_token: str | None) -> str:
    """A regular expression for the tokens, the longest first; `spaced_token` takes the white space before it along."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    alternatives = [re.escape(token) for token in longest_first]
    if spaced_token is not None:
        # The look-behind keeps a long run of spaces from being tried at each of its places.
        alternatives.insert(0, rf"(?<!\s)\s+{re.escape(spaced_token)}")
    return "|".join(alternatives)


def split_texts(texts: Any, special_ids: Mapping[str, int], spaced_token: str | None) -> Parts:
    pattern = re.compile(f"({special_token_pattern(special_ids, spaced_token)})")
    parts: list[str] = []
    token_ids: list[int] = []
    num_parts: list[int] = []
    for text in texts.to_pylist() if hasattr(texts, "to_pylist") else texts:
        # Text and special token by turns, text first and last.
        pieces = pattern.split(text)
        parts += pieces[0::2]
        token_ids += [special_ids[piece.lstrip() if piece not in special_ids else piece] for piece in pieces[1::2]]
        token_ids.append(-1)
        num_parts.append(len(pieces) // 2 + 1)
    return Parts(parts, np.array(token_ids, dtype=np.int32), np.array(num_parts, dtype=np.int64))


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
