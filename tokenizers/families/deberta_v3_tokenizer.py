"""DeBERTa V3's tokenizer (He et al. 2021, arXiv 2111.09543): SentencePiece, with the mask behind its pieces."""

import copy
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import Regex, normalizers

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch, joined_texts
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.sentence_piece_proto import NORMAL, UNUSED, SentencePieceModel
from clozekit.tokenizers.sentence_piece import SPACE, SentencePieceTokenizer
from clozekit.tokenizers.special_tokens import Parts, join_parts, texts_of
from clozekit.tokenizers.tokenizer import TokenBatch

# As transformers 5.23 makes them (`DebertaV2Tokenizer`): runs of white space are a space, one that is alone is kept.
_STEPS = normalizers.Sequence(
    [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
)
# Without one of these the steps change nothing.
_CHANGED = re.compile(rb"[\x80-\xff\t-\r]|  | \Z")
# A space that begins no word of more than itself, and what is one to their library alone.
_ODD = re.compile(SPACE.encode() + rb"|  | \Z")


class DebertaV3Tokenizer(SentencePieceTokenizer):
    """DeBERTa V3's SentencePiece tokenizer; its special tokens are pieces of the model, but for the mask.

    `[MASK]` has the next id behind the pieces where the model has no such piece: 128,000 in the published ones. The other
    arguments, ids and errors: see `SentencePieceTokenizer`.

    Args:
        compose: makes of texts what the class of transformers 5 does in the place of the model's rules: white space is less,
            and Unicode's normal form C. So a `tokenizer.json` that it wrote is read where the model is not beside it.

    Raises:
        InputError: for compose with add_bos or add_eos.

    Source: He et al. 2021 (arXiv 2111.09543), section 4.1: a vocabulary of 128,000 pieces.

    Example:

        >>> tokenizer = models.DebertaV3Tokenizer("tiny/deberta_v3/assets/tokenizer/vocabulary.spm")
        >>> tokenizer.detokenize(tokenizer.tokenize("The dog"))
        'The dog'
        >>> dict(zip(tokenizer.special_tokens, tokenizer.special_token_ids))
        {'[PAD]': 0, '[CLS]': 1, '[SEP]': 2, '[UNK]': 3, '[MASK]': 36}
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
        "start_token": "[CLS]",
        "end_token": "[SEP]",
    }
    compose: bool = False
    has_segments: ClassVar[bool] = False
    huggingface_class: ClassVar[str] = "DebertaV2Tokenizer"
    huggingface_model_file: ClassVar[str] = "spm.model"
    preset_families: ClassVar[tuple[str, ...]] = ("deberta_v3",)

    def __init__(
        self,
        proto: str | Path | bytes | None = None,
        sequence_length: int | None = None,
        dtype: str = "int32",
        add_bos: bool = False,
        add_eos: bool = False,
        special_tokens_in_strings: bool = False,
        added_tokens: Sequence[AddedToken | dict[str, Any]] | None = None,
        compose: bool = False,
    ) -> None:
        if compose and (add_bos or add_eos):
            raise InputError(
                "compose=True must go without add_bos and add_eos, as transformers' class has it; leave them out"
            )
        self.compose = compose
        super().__init__(proto, sequence_length, dtype, add_bos, add_eos, special_tokens_in_strings, added_tokens)

    def _pieces_of_model(self, model: SentencePieceModel, source: str) -> list[str]:
        mask = self.special_token_names["mask_token"]
        return model.pieces if mask in model.pieces else [*model.pieces, mask]

    def keras_hub_config(self) -> dict[str, Any]:
        # KerasHub knows no such thing, and refuses it.
        return {**super().keras_hub_config(), **({"compose": True} if self.compose else {})}

    def drops_white_space(self) -> bool:
        return not self.compose and super().drops_white_space()

    def _normalizer(self) -> Callable[[bytes], bytes] | None:
        return composed_spaces if self.compose else super()._normalizer()

    def _encode(self, batch: TextBatch) -> TokenBatch:
        if not self.compose:
            return super()._encode(batch)
        return self._encode_normalized(joined_texts([composed_spaces(text) for text in texts_of(batch)]))

    def _encode_normalized(self, batch: TextBatch) -> TokenBatch:
        """As the library cuts texts: every space, and ▁ written in a text, begins a word, of nothing but itself at times."""
        if not self.compose:
            return super()._encode_normalized(batch)
        cut = [_words(text) for text in texts_of(batch)]
        # A word of the space alone is that piece.
        ids = [-1 if word else self._ids[SPACE] for row in cut for word in row or [b" "]]
        words = [word for row in cut for word in row or [b""]]
        num_parts = np.array([max(len(row), 1) for row in cut], dtype=np.int64)
        parts = Parts(joined_texts(words), np.array(ids, np.int32), num_parts)
        encoded = SentencePieceTokenizer._encode(self._without_rules, parts.texts)
        return TokenBatch(*join_parts(parts, *encoded))

    @functools.cached_property
    def _without_rules(self) -> SentencePieceTokenizer:
        """For texts whose spaces are made already, where a piece with one inside is never found: texts are cut there."""
        if not self.compose:
            return super()._without_rules
        other, model = copy.copy(self), self._model
        other.__dict__.pop("_compiled", None)
        inside = [kind == NORMAL and SPACE in piece[1:] for piece, kind in zip(model.pieces, model.types, strict=True)]
        types = [UNUSED if cut else kind for cut, kind in zip(inside, model.types, strict=True)]
        other._model = model._replace(precompiled_charsmap=b"", types=types)
        return other


def composed_spaces(text: bytes) -> bytes:
    """What the steps of transformers 5 make of a text."""
    return text if _CHANGED.search(text) is None else _STEPS.normalize_str(text.decode("utf-8", "replace")).encode()


def _words(text: bytes) -> list[bytes]:
    """Words without the spaces that begin them, or the text as it is where the model finds the same; none of an empty one."""
    if _ODD.search(text) is None:
        return [text] if text else []
    words = text.replace(SPACE.encode(), b" ").split(b" ")
    return words if words[0] else words[1:]
