"""Encodes texts with tokens written in them: first those found as they stand there, then those in normalised text."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.common.text_batch import TextBatch, joined_texts
from clozekit.tokenizers.special_tokens import Parts, TokenFinder, join_parts, texts_of

Encoded = tuple[np.ndarray, np.ndarray]
Encode = Callable[[TextBatch], Encoded]


class TokenStages(NamedTuple):
    """written: finds tokens in texts as they are. normalized: finds the others, in what stands between those."""

    written: TokenFinder
    normalized: TokenFinder

    def encode(
        self, batch: TextBatch, encode: Encode, normalize: Callable[[bytes], bytes] | None, encode_normalized: Encode
    ) -> Encoded:
        """(ids, row lengths) of the texts. normalize: None where that changes nothing."""
        parts = self.written.split(batch)
        if parts is None:
            return self._encode_parts(batch, encode, normalize, encode_normalized)
        return join_parts(parts, *self._encode_parts(parts.texts, encode, normalize, encode_normalized))

    def _encode_parts(
        self, batch: TextBatch, encode: Encode, normalize: Callable[[bytes], bytes] | None, encode_normalized: Encode
    ) -> Encoded:
        if not self.normalized:
            return encode(batch)
        as_searched = batch if normalize is None else joined_texts([normalize(text) for text in texts_of(batch)])
        parts = self.normalized.split(as_searched)
        if parts is None:
            return encode(batch)
        if normalize is None:
            return join_parts(parts, *encode(parts.texts))
        return _encode_either(batch, parts, encode, encode_normalized)


def _encode_either(batch: TextBatch, parts: Parts, encode: Encode, encode_normalized: Encode) -> Encoded:
    """A text without tokens is encoded as it is, as if no token were ever looked for; of the others the parts are."""
    has_tokens = parts.num_parts > 1
    rows: list[np.ndarray] = [np.empty(0, np.int32)] * len(has_tokens)
    whole = [text for text, cut in zip(texts_of(batch), has_tokens.tolist(), strict=True) if not cut]
    is_cut = np.repeat(has_tokens, parts.num_parts)
    pieces = [text for text, cut in zip(texts_of(parts.texts), is_cut.tolist(), strict=True) if cut]
    of_cut = Parts(joined_texts(pieces), parts.token_ids[is_cut], parts.num_parts[has_tokens])
    for places, (ids, lengths) in (
        (np.flatnonzero(~has_tokens), encode(joined_texts(whole))),
        (np.flatnonzero(has_tokens), join_parts(of_cut, *encode_normalized(of_cut.texts))),
    ):
        for place, row in zip(places.tolist(), np.split(ids, np.cumsum(lengths)[:-1]), strict=False):
            rows[place] = row
    return np.concatenate(rows), np.array([len(row) for row in rows], dtype=np.int64)
