"""ALBERT's tokenizer (Lan et al. 2019, arXiv 1909.11942): SentencePiece."""

from typing import ClassVar

from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer


class AlbertTokenizer(SentencePieceTokenizer):
    """ALBERT's SentencePiece tokenizer; its special tokens are pieces of the model.

    Upper and lower case are the model's affair: ALBERT's own normalises with `nmt_nfkc_cf`, which folds case. Arguments, ids
    and errors: see `SentencePieceTokenizer`.

    Source: Lan et al. 2019 (arXiv 1909.11942), section 4.1.

    Example:

        >>> tokenizer = models.AlbertTokenizer("tiny/albert/assets/tokenizer/vocabulary.spm")
        >>> ids = tokenizer.tokenize("The DOG")
        >>> tokenizer.detokenize(ids)
        'the dog'
        >>> tokenizer.special_tokens, tokenizer.special_token_ids
        (['<pad>', '<unk>', '[CLS]', '[SEP]', '[MASK]'], [0, 1, 2, 3, 4])
    """

    special_token_names: ClassVar[dict[str, str]] = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "start_token": "[CLS]",
        "end_token": "[SEP]",
    }
    mask_takes_space_before: ClassVar[bool] = True
    preset_families: ClassVar[tuple[str, ...]] = ("albert",)
