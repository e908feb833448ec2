"""Learning byte-level BPE, RoBERTa's or ModernBERT's, from word counts, the same one in every run."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from clozekit.tokenizers.byte_pair import byte_characters, byte_kinds, code_point_kinds
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch, Texts
from clozekit.tokenizers.families.modern_bert_tokenizer import composed_batch
from clozekit.tokenizers.kernels.word_count_kernel import count_byte_pair_words
from clozekit.tokenizers.learning.distinct_words import clean_batch, spelled
from clozekit.tokenizers.learning.learn_merges import learn_merges, scaled_down


class SpecialTokens(NamedTuple):
    """Those before the learned pieces, and those behind them."""

    first: tuple[str, ...]
    last: tuple[str, ...]


# The order of fairseq: `<mask>` came last, after the pieces.
ROBERTA = SpecialTokens(("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",))
# The order of its published tokenizer, which had them added.
MODERN_BERT = SpecialTokens((), ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"))


def count_byte_words(texts: Texts) -> Counter[str]:
    """How often each word of GPT-2's regular expression stands in `texts`; a character stands for a byte."""
    return _count_byte_words(clean_batch(texts))


def count_composed_byte_words(texts: Texts) -> Counter[str]:
    """`count_byte_words` of the texts in Unicode's normal form C."""
    return _count_byte_words(composed_batch(clean_batch(texts)))


def _count_byte_words(batch: TextBatch) -> Counter[str]:
    found = count_byte_pair_words(batch.data, batch.offsets, byte_kinds(), code_point_kinds())
    characters = dict(enumerate(byte_characters()))
    return Counter({word.decode("latin-1").translate(characters): count for word, count in spelled(batch, found)})


def learn_byte_pairs(
    word_counts: Mapping[str, int], vocabulary_size: int, special: SpecialTokens = ROBERTA
) -> tuple[list[str], list[tuple[str, str]]]:
    """(pieces, merges) for `RobertaTokenizer` from the counts of `count_byte_words`, or for `ModernBertTokenizer`.

    All 256 bytes are pieces, so no text is unknown. How equally frequent pairs merge: see `learn_merges`.
    """
    alphabet = sorted(byte_characters())
    num_special = len(special.first) + len(special.last)
    least = num_special + len(alphabet)
    if not word_counts:
        raise InputError("a vocabulary is learned from words, the input has none; check --input and --text-key")
    if vocabulary_size < least:
        raise InputError(
            f"vocabulary_size must be at least {least} (five special tokens and 256 bytes), got {vocabulary_size}; raise it"
        )
    _, merges = learn_merges(scaled_down(word_counts), alphabet, vocabulary_size - num_special)
    # Two merges may make the same piece.
    pieces = dict.fromkeys([*special.first, *alphabet, *(left + right for left, right in merges), *special.last])
    return list(pieces), merges
