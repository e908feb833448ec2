"""ModernBERT's tokenizer (Warner et al. 2024, arXiv 2412.13663): byte-level BPE of composed text."""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import normalizers

from clozekit.tokenizers.byte_pair import BytePairTokenizer
from clozekit.tokenizers.common.text_batch import TextBatch, joined_texts
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.special_tokens import texts_of
from clozekit.tokenizers.tokenizer import TokenBatch

# The first byte of U+0300: composition begins there, and no text of smaller ones is changed by it.
_FIRST_COMPOSING = 0xCC
_COMPOSED = normalizers.NFC()
_COMPOSING = re.compile(rb"[\xcc-\xff]")
_RUN = re.compile(rb"[\x80-\xff]+")
_LONGEST_REMEMBERED = 64


class ModernBertTokenizer(BytePairTokenizer):
    """ModernBERT's byte-level BPE: OLMo's, which is GPT-NeoX's, with BERT's special tokens.

    Texts are put into Unicode's normal form C first, by Hugging Face's library, so that its version of Unicode decides. Tokens
    such as GPT-NeoX's runs of spaces are `added_tokens`. The other arguments, ids and errors: see `BytePairTokenizer`.

    Args:
        compose: False leaves texts as they are, for checkpoints without that step.

    Source: Warner et al. 2024 (arXiv 2412.13663), section 2.1.3, "Tokenizer"; Black et al. 2022 (arXiv 2204.06745), section 3.2.

    Example:

        >>> pieces = ["a", "d", "g", "o", "Ġ", "do", "dog", "Ġdog", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
        >>> tokenizer = models.ModernBertTokenizer(pieces, merges=["d o", "do g", "Ġ dog"])
        >>> ids = tokenizer.tokenize("a dog")
        >>> ids.tolist(), tokenizer.detokenize(ids)
        ([0, 7], 'a dog')
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "start_token": "[CLS]",
        "end_token": "[SEP]",
    }
    unknown_token = "[UNK]"
    compose: bool = True
    mask_takes_space_before: ClassVar[bool] = True
    has_segments: ClassVar[bool] = False
    preset_families: ClassVar[tuple[str, ...]] = ("modern_bert",)

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
        compose: bool = True,
    ) -> None:
        self.compose = compose
        super().__init__(
            vocabulary,
            merges,
            sequence_length,
            add_prefix_space,
            unsplittable_tokens,
            special_tokens_in_strings,
            dtype,
            added_tokens,
            drops_unknown,
        )

    def own_options(self) -> dict[str, Any]:
        return {**super().own_options(), **({} if self.compose else {"compose": False})}

    def _normalizer(self) -> Callable[[bytes], bytes] | None:
        return composed if self.compose else None

    def _encode(self, batch: TextBatch) -> TokenBatch:
        return super()._encode(composed_batch(batch) if self.compose else batch)

    def _encode_normalized(self, batch: TextBatch) -> TokenBatch:
        return super()._encode(batch)


def composed_batch(batch: TextBatch) -> TextBatch:
    """The texts in Unicode's normal form C."""
    if not np.any(batch.data[int(batch.offsets[0]) : int(batch.offsets[-1])] >= _FIRST_COMPOSING):
        return batch
    return joined_texts([composed(text) for text in texts_of(batch)])


def composed(text: bytes) -> bytes:
    """In normal form C. What composes are characters beyond ASCII with each other and with the one before them, so runs of these are
    taken by themselves, and short ones are remembered: of a text with a few dashes most stays as it is."""
    if text.isascii() or _COMPOSING.search(text) is None:
        return text
    parts: list[bytes] = []
    end = 0
    for match in _RUN.finditer(text):
        begin = max(match.start() - 1, 0)
        run = text[begin : match.end()]
        new = _remembered_run(run) if len(run) <= _LONGEST_REMEMBERED else _composed_run(run)
        if new != run:
            parts += (text[end:begin], new)
            end = match.end()
    return b"".join([*parts, text[end:]]) if parts else text


def _composed_run(run: bytes) -> bytes:
    try:
        return _COMPOSED.normalize_str(run.decode()).encode()
    except UnicodeDecodeError:
        # Surrogates, which the library has no strings for.
        decoded = run.decode("utf-8", "surrogatepass")
        return unicodedata.normalize("NFC", decoded).encode("utf-8", "surrogatepass")


_remembered_run = functools.lru_cache(maxsize=2**16)(_composed_run)
