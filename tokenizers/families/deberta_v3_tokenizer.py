"""DeBERTa V3's tokenizer (He et al. 2021, arXiv 2111.09543): SentencePiece, with the mask behind its pieces."""

from typing import ClassVar

from clozekit.tokenizers.formats.sentence_piece_proto import SentencePieceModel
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer


class DebertaV3Tokenizer(SentencePieceTokenizer):
    """DeBERTa V3's SentencePiece tokenizer; its special tokens are pieces of the model, but for the mask.

    `[MASK]` has the next id behind the pieces where the model has no such piece: 128,000 in the published ones. Arguments, ids and
    errors: see `SentencePieceTokenizer`.

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
    has_segments: ClassVar[bool] = False
    huggingface_class: ClassVar[str] = "DebertaV2Tokenizer"
    huggingface_model_file: ClassVar[str] = "spm.model"
    preset_families: ClassVar[tuple[str, ...]] = ("deberta_v3",)

    def _pieces_of_model(self, model: SentencePieceModel, source: str) -> list[str]:
        mask = self.special_token_names["mask_token"]
        return model.pieces if mask in model.pieces else [*model.pieces, mask]
