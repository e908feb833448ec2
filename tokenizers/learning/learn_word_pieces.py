"""Learning a vocabulary from word counts, the same one in every run."""

import functools
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.wordpiece import MAX_WORD_CHARACTERS, SUFFIX_INDICATOR

# So many characters are pieces in any case. Further ones are as long as the rest is more than this share of the text and
# there is room: a Latin corpus seldom has more, a Chinese one has thousands.
LEAST_ALPHABET = 1000
LEFT_OUT_RATE = 1e-5
# What there are private code points for, each of which stands for a character that continues a word.
MAX_ALPHABET = 100_000
# Merges depend on how counts compare, not on their size, so larger corpora are scaled down to this many words.
MAX_LEARNER_WORDS = 20_000_000
# The private use planes 15 and 16, which stand for characters that continue a word while the learner runs.
_CONTINUES = range(0xF0000, 0x110000)


@functools.cache
def _bert_words() -> re.Pattern[str]:
    """BERT's words: a punctuation mark (any Unicode one, and every ASCII symbol) is a word of its own, and between
    punctuation and spaces everything is one word."""
    marks = {chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")}
    separators = "".join(map(re.escape, sorted(marks | set(string.punctuation))))
    return re.compile(f"[^\\s{separators}]+|[{separators}]")


def count_cased_words(texts: Sequence[str]) -> Counter[str]:
    """How often each word stands in `texts`, after BERT's normalisation."""
    return _count_words(texts, lowercase=False)


def count_lowercased_words(texts: Sequence[str]) -> Counter[str]:
    """The same after lower-casing and without accents."""
    return _count_words(texts, lowercase=True)


def _count_words(texts: Sequence[str], lowercase: bool) -> Counter[str]:
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    words = _bert_words()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words.findall(normalizer.normalize_str(without_surrogates(text))))
    return counts


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for half surrogate pairs, which the learners' library refuses."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def learn_wordpiece(
    word_counts: Mapping[str, int], vocabulary_size: int, alphabet_size: int | None = None
) -> list[str]:
    """The pieces of a WordPiece vocabulary: BERT's special tokens, the alphabet, then merges by their frequency.

    alphabet_size: how many characters are pieces at most, the most frequent ones; None: see `learn_alphabet`.

    Learned with Hugging Face `tokenizers`' BPE trainer on the counted words. Its own WordPiece trainer is not used: it
    numbers the `##` characters in the order of a hash table, and equal counts then merge differently in every process
    (seen with 0.23.3). Here continuing characters are symbols of their own from the start, so ids, and with them ties,
    are fixed. Raises InputError when there are no words or the size leaves no room for pieces.
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
        for word, count in sorted(word_counts.items())
        if len(word) <= MAX_WORD_CHARACTERS and all(character in continuing for character in word)
    }
    learner = RustTokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary_size - len(special), largest_vocabulary(words, 2 * len(alphabet))),
        initial_alphabet=[*alphabet, *continuing.values()],
        limit_alphabet=2 * len(alphabet),
        show_progress=False,
    )
    scale = min(1.0, MAX_LEARNER_WORDS / sum(word_counts.values()))
    symbols = (
        " ".join([word[0] + "".join(continuing[character] for character in word[1:])] * max(1, round(count * scale)))
        for word, count in words.items()
    )
    learner.train_from_iterator(symbols, trainer)
    ids = learner.get_vocab()
    restored = {ord(symbol): character for character, symbol in continuing.items()}
    pieces = []
    for piece in sorted(ids, key=lambda piece: ids[piece]):
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


def largest_vocabulary(words: Iterable[str], alphabet_size: int) -> int:
    """No corpus gives more pieces: each merge makes a word of it shorter. The learner reserves memory for its size."""
    return alphabet_size + sum(len(word) - 1 for word in words) + 1
