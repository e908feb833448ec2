"""Learning the SentencePiece models of ALBERT, XLM-RoBERTa and DeBERTa V3 from word counts, the same one in every run."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import Texts
from clozekit.tokenizers.formats.sentence_piece_proto import CONTROL, NORMAL, UNKNOWN, write_model
from clozekit.tokenizers.formats.sentence_piece_rules import NamedRules
from clozekit.tokenizers.learning.distinct_words import byte_classes, count_distinct
from clozekit.tokenizers.learning.learn_unigram import RESERVED, SizeError, learn_unigram
from clozekit.tokenizers.learning.long_words import cut_long_words

# Pieces of XLMRobertaTokenizer that its model does not hold: <pad> and <mask>.
_ADDED_BY_XLM_ROBERTA = 2
# And of DebertaV3Tokenizer: [MASK].
_ADDED_BY_DEBERTA_V3 = 1
# The library's trainer leaves out lines of more than 4,192 bytes, and a paragraph of Chinese is one: words are cut so that it would
# take them all.
MAX_WORD_BYTES = 4000
# U+2585 stands for characters that are too rare, and 0 between words.
_TAKEN_OUT = "\u2585\0"
# Its own default: of the characters of a corpus, the rarest one in 2,000 get no piece.
CHARACTER_COVERAGE = 0.9995
# Sums of counts are exact in float64.
_MOST_COUNTED = 2**53
# A lone one is three malformed bytes to the library.
_SURROGATE = re.compile("[\ud800-\udfff]")
# What the models begin with, in this order.
_ALBERT = (
    ("<pad>", CONTROL),
    ("<unk>", UNKNOWN),
    ("[CLS]", CONTROL),
    ("[SEP]", CONTROL),
    ("[MASK]", CONTROL),
)
_XLM_ROBERTA = (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL))
_DEBERTA_V3 = (("[PAD]", CONTROL), ("[CLS]", CONTROL), ("[SEP]", CONTROL), ("[UNK]", UNKNOWN))

# The ASCII ones of what `str.split` cuts at, and the null byte.
_CHUNKS = byte_classes(b"\0\t\n\v\f\r\x1c\x1d\x1e\x1f ")


def count_spaced_words(texts: Texts) -> Counter[str]:
    """How often each run of visible characters stands in `texts`. The learner normalises them itself."""
    return count_distinct(texts, _CHUNKS, str.split)


def learn_albert(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    lowercase: bool,
    character_coverage: float = CHARACTER_COVERAGE,
) -> bytes:
    """The model of an `AlbertTokenizer`, in ALBERT's order: <pad> <unk> [CLS] [SEP] [MASK], then pieces."""
    return _learn(word_counts, vocabulary_size, 0, lowercase, character_coverage, _ALBERT)


def learn_xlm_roberta(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    lowercase: bool = False,
    character_coverage: float = CHARACTER_COVERAGE,
) -> bytes:
    """The model of an `XLMRobertaTokenizer` of that many pieces: <unk> <s> </s>, then pieces."""
    return _learn(word_counts, vocabulary_size, _ADDED_BY_XLM_ROBERTA, lowercase, character_coverage, _XLM_ROBERTA)


def learn_deberta_v3(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    lowercase: bool = False,
    character_coverage: float = CHARACTER_COVERAGE,
) -> bytes:
    """The model of a `DebertaV3Tokenizer` of that many pieces, in DeBERTa V3's order: [PAD] [CLS] [SEP] [UNK], then pieces."""
    return _learn(word_counts, vocabulary_size, _ADDED_BY_DEBERTA_V3, lowercase, character_coverage, _DEBERTA_V3)


def _learn(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    num_added: int,
    lowercase: bool,
    character_coverage: float,
    special: Sequence[tuple[str, int]],
) -> bytes:
    """The bytes of a model: `special` pieces, then those learned. num_added: pieces of the vocabulary that are not in it."""
    if wrong := [word for word, count in word_counts.items() if not 0 < count < _MOST_COUNTED]:
        raise InputError(
            f"a word must stand in the corpus 1 to 2^53 times, {wrong[0]!r:.100} has {word_counts[wrong[0]]}; correct the counts"
        )
    counts = cut_long_words(word_counts, MAX_WORD_BYTES, _TAKEN_OUT)
    if not num_added < vocabulary_size < 2**31:
        raise InputError(
            f"vocabulary_size must be above {num_added} and below 2^31, got {vocabulary_size}; choose another"
        )
    if not 0.9 <= character_coverage <= 1:
        raise InputError(f"character_coverage must be a rate from 0.9 to 1, got {character_coverage}; choose another")
    rules = NamedRules("nmt_nfkc_cf" if lowercase else "nmt_nfkc")
    words = _normalized(counts, rules, [piece for piece, _ in special])
    if not words:
        raise InputError("a vocabulary is learned from words, the input has none; check --input and --text-key")
    num_pieces = vocabulary_size - num_added - len(special)
    try:
        learned = learn_unigram(words, num_pieces, len(special), character_coverage)
    except SizeError as error:
        allowed = error.allowed + num_added
        bound, advice = (
            (f"at most {allowed:,} pieces", "lower") if error.too_large else (f"no fewer than {allowed:,}", "raise")
        )
        raise InputError(
            f"a vocabulary must be as large as its corpus allows, {len(counts):,} different words allow {bound}, got a"
            f" vocabulary_size of {vocabulary_size}; {advice} it"
        ) from error
    return write_model(
        [(piece, 0.0, kind) for piece, kind in special] + [(piece, score, NORMAL) for piece, score in learned],
        rules.compiled,
    )


def _normalized(counts: Mapping[str, int], rules: NamedRules, special: Sequence[str]) -> list[tuple[str, int]]:
    """Words as the library's trainer takes them, in the order of the words as they were; special pieces in them learn nothing."""
    words = sorted(counts)
    readable = [_SURROGATE.sub("\ufffd" * 3, word) for word in words]
    pattern = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
    rows = [
        (pattern.sub(RESERVED, normalized), counts[word])
        for word, normalized in zip(words, rules.normalized(readable), strict=True)
    ]
    # In place of one that is empty it takes the last one.
    place = 0
    while place < len(rows):
        if rows[place][0]:
            place += 1
        else:
            rows[place] = rows[-1]
            rows.pop()
    return rows
