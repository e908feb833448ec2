"""Learning a vocabulary from word counts, the same one in every run."""

import functools
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from tokenizers import normalizers

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import Texts
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.learning.distinct_words import byte_classes, count_distinct
from clozekit.tokenizers.learning.learn_merges import learn_merges, scaled_down
from clozekit.tokenizers.wordpiece import MAX_WORD_CHARACTERS, SUFFIX_INDICATOR

# So many characters are pieces in any case. Further ones are as long as the rest is more than this share of the text and
# there is room: a Latin corpus seldom has more, a Chinese one has thousands.
LEAST_ALPHABET = 1000
LEFT_OUT_RATE = 1e-5
# What there are private code points for, each of which stands for a character that continues a word.
MAX_ALPHABET = 100_000
# The private use planes 15 and 16, which stand for characters that continue a word while the learner runs.
_CONTINUES = range(0xF0000, 0x110000)


# Where BERT's words end in any case: cleaning makes a space of these, and drops the other control characters.
_CHUNKS = byte_classes(b" \t\n\r", string.punctuation.encode())


def bert_words(text: str) -> list[str]:
    """BERT's words: a punctuation mark (any Unicode one, and every ASCII symbol) is a word of its own, and between
    punctuation and spaces everything is one word."""
    return "".join(f" {character} " if _is_mark(character) else character for character in text).split()


@functools.cache
def _is_mark(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def count_cased_words(texts: Texts) -> Counter[str]:
    """How often each word stands in `texts`, after BERT's normalisation."""
    return _count_words(texts, lowercase=False)


def count_lowercased_words(texts: Texts) -> Counter[str]:
    """The same after lower-casing and without accents."""
    return _count_words(texts, lowercase=True)


def _count_words(texts: Texts, lowercase: bool) -> Counter[str]:
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)

    def words_of(chunk: str) -> Sequence[str]:
        if chunk.isascii() and chunk.isprintable():
            return (chunk.lower() if lowercase else chunk,)
        return bert_words(normalizer.normalize_str(chunk))

    return count_distinct(texts, _CHUNKS, words_of)


def learn_wordpiece(
    word_counts: Mapping[str, int], vocabulary_size: int, alphabet_size: int | None = None
) -> list[str]:
    """The pieces of a WordPiece vocabulary: BERT's special tokens, the alphabet, then merges by their frequency.

    alphabet_size: how many characters are pieces at most, the most frequent ones; None: see `learn_alphabet`.

    The merges are those of Hugging Face's BPE trainer on the counted words. Its WordPiece trainer numbers the `##`
    characters in the order of a hash table, and equal counts then merge differently in every process (seen with 0.23.3).
    Here continuing characters are symbols of their own from the start, so ids, and with them ties, are fixed. Raises
    InputError when there are no words or the size leaves no room for pieces.
    """
    if alphabet_size is not None and not 1 <= alphabet_size <= MAX_ALPHABET:
        raise InputError(f"alphabet_size must be from 1 to {MAX_ALPHABET:,}, got {alphabet_size}; leave it out to grow")
    special = list(dict.fromkeys(BertTokenizer.special_token_names.values()))
    alphabet = learn_alphabet(word_counts, (vocabulary_size - len(special)) // 2, alphabet_size)
    least = len(special) + 2 * len(alphabet)
    if not alphabet:
        raise InputError("a vocabulary is learned from words, the input has none; check --input and --text-key")
    if vocabulary_size < least:
        raise InputError(
            f"vocabulary_size must be at least {least} here ({len(special)} special tokens and twice"
            f" {len(alphabet)} characters), got {vocabulary_size}; raise it, or lower alphabet_size"
        )
    taken = set(alphabet)
    free = (symbol for symbol in map(chr, _CONTINUES) if symbol not in taken)
    continuing = dict(zip(alphabet, free, strict=False))
    words = {
        word: count
        for word, count in scaled_down(word_counts).items()
        if len(word) <= MAX_WORD_CHARACTERS and all(character in continuing for character in word)
    }
    learned, _ = learn_merges(words, [*alphabet, *continuing.values()], vocabulary_size - len(special), continuing)
    restored = {ord(symbol): character for character, symbol in continuing.items()}
    pieces = []
    for piece in learned:
        continues = ord(piece[0]) in restored
        pieces.append((SUFFIX_INDICATOR if continues else "") + piece.translate(restored))
    return special + pieces


def learn_alphabet(word_counts: Mapping[str, int], room: int = 0, size: int | None = None) -> list[str]:
    """The most frequent characters, sorted; equally frequent ones by their code point.

    As many as `size` says. None: at least LEAST_ALPHABET, and up to `room` while the others are more than LEFT_OUT_RATE
    of all characters.
    """
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    kept = sorted(counts, key=lambda character: (-counts[character], character))
    if size is None:
        size, room = LEAST_ALPHABET, min(room, MAX_ALPHABET)
        left_out = sum(counts[character] for character in kept[size:])
        allowed = LEFT_OUT_RATE * counts.total()
        while size < min(room, len(kept)) and left_out > allowed:
            left_out -= counts[kept[size]]
            size += 1
    return sorted(kept[:size])
