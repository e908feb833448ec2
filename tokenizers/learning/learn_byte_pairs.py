"""Learning byte-level BPE, RoBERTa's or ModernBERT's, from word counts, the same one in every run."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, trainers

from clozekit.tokenizers.byte_pair import byte_characters
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.modern_bert_tokenizer import composed
from clozekit.tokenizers.learning.learn_word_pieces import MAX_LEARNER_WORDS, largest_vocabulary, without_surrogates


class SpecialTokens(NamedTuple):
    """Those before the learned pieces, and those behind them."""

    first: tuple[str, ...]
    last: tuple[str, ...]


# The order of fairseq: `<mask>` came last, after the pieces.
ROBERTA = SpecialTokens(("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",))
# The order of its published tokenizer, which had them added.
MODERN_BERT = SpecialTokens((), ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"))


def count_byte_words(texts: Sequence[str]) -> Counter[str]:
    """How often each word of GPT-2's regular expression stands in `texts`; a character stands for a byte."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(without_surrogates(text)))
    return counts


def count_composed_byte_words(texts: Sequence[str]) -> Counter[str]:
    """`count_byte_words` of the texts in Unicode's normal form C."""
    return count_byte_words([composed(without_surrogates(text).encode()).decode() for text in texts])


def learn_byte_pairs(
    word_counts: Mapping[str, int], vocabulary_size: int, special: SpecialTokens = ROBERTA
) -> tuple[list[str], list[tuple[str, str]]]:
    """(pieces, merges) for `RobertaTokenizer` from the counts of `count_byte_words`, or for `ModernBertTokenizer`.

    All 256 bytes are pieces, so no text is unknown. Learned with the BPE trainer of Hugging Face `tokenizers`; its
    symbols are numbered in the order given here, so equally frequent pairs merge alike in every process.
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
    learner = RustTokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary_size - num_special, largest_vocabulary(word_counts, len(alphabet))),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    scale = min(1.0, MAX_LEARNER_WORDS / sum(word_counts.values()))
    words = (" ".join([word] * max(1, round(count * scale))) for word, count in sorted(word_counts.items()))
    learner.train_from_iterator(words, trainer)
    # The learner shows its merges only in its file.
    merges = [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
    # Two merges may make the same piece.
    pieces = dict.fromkeys([*special.first, *alphabet, *(left + right for left, right in merges), *special.last])
    return list(pieces), merges
