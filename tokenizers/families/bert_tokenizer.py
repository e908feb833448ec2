"""BERT's tokenizer (Devlin et al. 2018, arXiv 1810.04805): WordPiece."""

from typing import ClassVar

from clozekit.tokenizers.wordpiece import WordPieceTokenizer


class BertTokenizer(WordPieceTokenizer):
    """BERT's WordPiece tokenizer with its five special tokens.

    Arguments, ids and errors: see `WordPieceTokenizer`.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3; the code of BERT, `tokenization.py`.

    Example:

        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s"]
        >>> tokenizer = models.BertTokenizer(pieces, lowercase=True)
        >>> tokenizer.tokenize(["The dogs", "[MASK]"])
        [[5, 6, 7], [1, 1, 1]]
        >>> models.BertTokenizer(pieces, special_tokens_in_strings=True).tokenize("the [MASK]").tolist()
        [5, 4]
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
    huggingface_class: ClassVar[str] = "BertTokenizer"
    preset_families: ClassVar[tuple[str, ...]] = ("bert",)
