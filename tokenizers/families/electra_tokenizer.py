"""ELECTRA's tokenizer (Clark et al. 2020, arXiv 2003.10555): BERT's under another name."""

from typing import ClassVar

from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


class ElectraTokenizer(BertTokenizer):
    """BERT's WordPiece tokenizer, the ids of every text included; presets of ELECTRA name it so.

    Arguments, ids and errors: see `WordPieceTokenizer`.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.1: BERT's.

    Example:

        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s"]
        >>> models.ElectraTokenizer(pieces, lowercase=True).tokenize("The dogs").tolist()
        [5, 6, 7]
    """

    preset_families: ClassVar[tuple[str, ...]] = ("electra",)
