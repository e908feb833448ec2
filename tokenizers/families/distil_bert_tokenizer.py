"""DistilBERT's tokenizer (Sanh et al. 2019, arXiv 1910.01108): BERT's under another name."""

from typing import ClassVar

from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


class DistilBertTokenizer(BertTokenizer):
    """BERT's WordPiece tokenizer, the ids of every text included; presets of DistilBERT name it so.

    Arguments, ids and errors: see `WordPieceTokenizer`.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 3: BERT's.

    Example:

        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s"]
        >>> models.DistilBertTokenizer(pieces, lowercase=True).tokenize("The dogs").tolist()
        [5, 6, 7]
    """

    preset_families: ClassVar[tuple[str, ...]] = ("distil_bert",)
