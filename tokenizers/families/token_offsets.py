"""Where each token stands in its text, in characters, by Hugging Face's library with the same vocabulary and rules."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as LibraryTokenizer

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer
from clozekit.tokenizers.tokenizer import TOKENIZER_FILE, Tokenizer


def encode_with_offsets(tokenizer: Tokenizer, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids int32 (T,), offsets int64 (T, 2)) of each text: token t is text[offsets[t, 0]:offsets[t, 1]], spaces aside.

    The ids are the tokenizer's own; the library's are held against them. Raises InputError for a tokenizer that
    Hugging Face's library can't be, or a text of which the two make different tokens.
    """
    library = _library_tokenizer(tokenizer)
    batch = tokenizer.encode_batch(list(texts))
    rows = np.split(batch.token_ids, np.cumsum(batch.row_lengths)[:-1]) if texts else []
    found = []
    for text, ids, encoding in zip(
        texts, rows, library.encode_batch(list(texts), add_special_tokens=False), strict=True
    ):
        if encoding.ids != ids.tolist():
            raise InputError(
                f"where tokens stand in a text can't be told for {text[:60]!r}: Hugging Face's library makes other tokens of"
                " it; leave this text out"
            )
        found.append((ids, np.array(encoding.offsets, np.int64).reshape(-1, 2)))
    return found


def _library_tokenizer(tokenizer: Tokenizer) -> LibraryTokenizer:
    """The same tokenizer of the library, to which special tokens written in a text are text where they are that here."""
    with tempfile.TemporaryDirectory() as directory:
        write_huggingface_tokenizer(tokenizer, Path(directory), 512)
        described = json.loads((Path(directory) / TOKENIZER_FILE).read_text(encoding="utf-8"))
    pieces = described["model"]["vocab"]
    if isinstance(pieces, list) and not tokenizer.special_tokens_in_strings:
        # SentencePiece's, of which the library finds control symbols in texts too: under names that no text has.
        for number in tokenizer.special_token_ids:
            if number == len(pieces):
                # DeBERTa V3's mask is added behind them.
                continue
            pieces[number][0] = f"\U0010fffd{number}"
    library = LibraryTokenizer.from_str(json.dumps(described))
    library.encode_special_tokens = not tokenizer.special_tokens_in_strings
    return library
