"""Learning a vocabulary from word counts, the same one in every run."""

import functools
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import BertTokenizer
from clozekit.tokenizers.wordpiece import MAX_WORD_CHARACTERS, SUFFIX_INDICATOR

# Characters rarer than the thousand most frequent ones become the unknown piece.
MAX_ALPHABET = 1000
# Merges depend on how counts compare, not on their size, so larger corpora are scaled down to this many words.
MAX_LEARNER_WORDS = 20_000_000
# Private use plane 15: stands for a character that continues a word while the learner runs.
_CONTINUES = 0xF0000


@functools.cache
def _bert_words() -> re.Pattern[str]:
    """BERT's words: a punctuation mark (any Unicode one, and every ASCII symbol) is a word of its own, and between
    punctuation and spaces everything is one word."""
    marks = {chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")}
    separators = "".join(map(re.escape, sorted(marks | set(string.punctuation))))
    return re.compile(f"[^\\s{separators}]+|[{separators}]")


def count_words(texts: list[str], lowercase: bool) -> Counter[str]:
    """How often each word stands in `texts`, after BERT's normalisation."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    words = _bert_words()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words.findall(normalizer.normalize_str(text)))
    return counts


def learn_wordpiece(word_counts: Mapping[str, int], vocabulary_size: int) -> list[str]:
    """The pieces of a WordPiece vocabulary: BERT's special tokens, the alphabet, then merges by their frequency.

    Learned with Hugging Face `tokenizers`' BPE trainer on the counted words. Its own WordPiece trainer is not used: it
    numbers the `##` characters in the order of a hash table, and equal counts then merge differently in every process
    (seen with 0.23.3). Here continuing characters are symbols of their own from the start, so ids, and with them ties,
    are fixed. Raises InputError when there are no words or the size leaves no room for pieces.
    """
    alphabet = learn_alphabet(word_counts)
    special = list(dict.fromkeys(BertTokenizer.special_token_names.values()))
    least = len(special) + 2 * len(alphabet)
    if not alphabet:
        raise InputError("a vocabulary is learned from words, the input has none; check --input and --text-key")
    if vocabulary_size < least:
        raise InputError(
            f"vocabulary_size must be at least {least} here ({len(special)} special tokens and twice"
            f" {len(alphabet)} characters), got {vocabulary_size}; raise it"
        )
    continuing = {character: chr(_CONTINUES + index) for index, character in enumerate(alphabet)}
    learner = RustTokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(special),
        initial_alphabet=[*alphabet, *continuing.values()],
        limit_alphabet=2 * len(alphabet),
        show_progress=False,
    )
    scale = min(1.0, MAX_LEARNER_WORDS / sum(word_counts.values()))
    symbols = (
        " ".join([word[0] + "".join(continuing[character] for character in word[1:])] * max(1, round(count * scale)))
        for word, count in sorted(word_counts.items())
        if len(word) <= MAX_WORD_CHARACTERS and all(character in continuing for character in word)
    )
    learner.train_from_iterator(symbols, trainer)
    ids = learner.get_vocab()
    restored = {ord(symbol): character for character, symbol in continuing.items()}
    pieces = []
    for piece in sorted(ids, key=lambda piece: ids[piece]):
        continues = ord(piece[0]) in restored
        pieces.append((SUFFIX_INDICATOR if continues else "") + piece.translate(restored))
    return special + pieces


def learn_alphabet(word_counts: Mapping[str, int]) -> list[str]:
    """The most frequent characters, at most MAX_ALPHABET, sorted; equally frequent ones by their code point."""
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    kept = sorted(counts, key=lambda character: (-counts[character], character))[:MAX_ALPHABET]
    return sorted(kept)
