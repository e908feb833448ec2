"""Words counted by their distinct chunks are those of a slow loop over whole texts, whatever the texts hold."""

import random
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest
from tokenizers import normalizers, pre_tokenizers

from clozekit.tokenizers.learning.distinct_words import without_surrogates
from clozekit.tokenizers.learning.learn_byte_pairs import count_byte_words, count_composed_byte_words
from clozekit.tokenizers.learning.learn_sentence_pieces import count_spaced_words
from clozekit.tokenizers.learning.learn_word_pieces import count_cased_words, count_lowercased_words

# White space and controls of all kinds, marks that combine and change places, letters that grow when lower-cased, capital
# sigmas, ideographs, punctuation in and outside of ASCII, private and unassigned characters, all planes.
ODD = " \t\n\r\v\f\0\x1c\x1f\x7f\x85\xa0\u1680\u2003\u2028\u3000\u200b\ufeff\ufffd" + (
    "abcXYZ019'’_-.,;:!?#$%&()*+/<=>@[]^`{|}~«»。、·ßİıſΣσςéÉüñå\u0301\u0323\u0307\u20d0中文漢字かな한국어हिन्दी๕½²Ⅷ𝔘𐐀😀\U000f0001"
)


def texts() -> list[str]:
    dice = random.Random(3)
    found = ["".join(dice.choices(ODD, k=dice.randint(0, 60))) for _ in range(400)]
    found += [
        " ".join(dice.choices(["don't", "they've", "I'll", " the", "The", "x" * 120, "Ünï"], k=20)) for _ in range(50)
    ]
    points = dice.sample(range(0xD800), 3000) + dice.sample(range(0xE000, 0x110000), 3000)
    found += ["".join(map(chr, dice.choices(points, k=40))) for _ in range(150)]
    return [*found, "half \ud83d a pair \ud83d\ude00, \udc00", "", " "]


def cleaned_words(lowercase: bool) -> Callable[[str], list[str]]:
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    marks = {character for text in texts() for character in text if unicodedata.category(character).startswith("P")}
    separators = "".join(map(re.escape, sorted(marks | set(string.punctuation))))
    words = re.compile(f"[^\\s{separators}]+|[{separators}]")
    return lambda text: words.findall(normalizer.normalize_str(text))


def byte_words(text: str) -> list[str]:
    return [word for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("count", "words_of"),
    [
        (count_lowercased_words, cleaned_words(True)),
        (count_cased_words, cleaned_words(False)),
        (count_byte_words, byte_words),
        (count_composed_byte_words, lambda text: byte_words(normalizers.NFC().normalize_str(text))),
        (count_spaced_words, lambda text: text.replace("\0", " ").split()),
    ],
)
def test_counts_are_those_of_a_loop_over_whole_texts(
    count: Callable[..., Counter[str]], words_of: Callable[[str], list[str]]
) -> None:
    assigned = [
        "".join(c for c in without_surrogates(text) if unicodedata.category(c) != "Cn" or c == "\ufffd")
        for text in texts()
    ]
    expected = Counter(word for text in assigned for word in words_of(text))
    assert count(assigned) == expected
    assert count(pa.chunked_array([pa.array(assigned[:9]), pa.array(assigned[9:])])) == expected
    # Half surrogate pairs are one U+FFFD each, whole ones their character.
    halves = ["a\ud83db \ud83d\ude00"]
    assert count(halves) == Counter(words_of("a\ufffdb 😀"))


def test_more_distinct_words_than_the_first_table_holds() -> None:
    words = [f"{'long' * (number % 13)}{number}" for number in range(40_000)]
    text = " ".join([*words, *words[:20_000]])
    expected = Counter(text.split())
    assert count_spaced_words([text]) == count_cased_words([text]) == expected
    assert count_byte_words([text]) == Counter(byte_words(text))
