"""Runs without white space: cut at marks, never inside a character, learned from; ordinary words stay what they are."""

import unicodedata
from collections import Counter

import pytest

from clozekit.pipelines.vocabulary import VocabularySettings, describe_report, learn, word_counter
from clozekit.tokenizers.learning.learn_sentence_pieces import MAX_WORD_BYTES
from clozekit.tokenizers.learning.long_words import cut_long_words, parts_of_word
from clozekit.tokenizers.learning.vocabulary_report import report_vocabulary

SENTENCES = ("我们今天学习中文。", "他们明天去北京！", "天气很好，")


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("abcdefghij", ["abcdefghij"]),
        ("abcdefghijk", ["abcdefghij", "k"]),
        # Behind the last mark in the second half of what fits, not in the first.
        ("abcdef,ghijk", ["abcdef,", "ghijk"]),
        ("ab,cdefghijk", ["ab,cdefghi", "jk"]),
        ("ab€cd…efghijk", ["ab€cd…", "efghijk"]),
        # Three bytes each: three characters fit, not three and a third.
        ("中文字漢語", ["中文字", "漢語"]),
        ("😀😀😀😀", ["😀😀", "😀😀"]),
        # An accent stays with its letter.
        ("abcdefghie\u0301x", ["abcdefghi", "e\u0301x"]),
        ("a" + "\u0301" * 12, ["a" + "\u0301" * 4, "\u0301" * 5, "\u0301" * 3]),
        ("", []),
    ],
)
def test_a_word_is_cut_at_the_stated_places(word: str, parts: list[str]) -> None:
    assert list(parts_of_word(word, 10)) == parts


def test_parts_together_are_the_word() -> None:
    word = "".join(chr(code) for code in range(0x20, 0x30000, 37) if unicodedata.category(chr(code)) != "Cs")
    for size in (4, 5, 100, 4000):
        parts = list(parts_of_word(word, size))
        assert "".join(parts) == word and max(len(part.encode()) for part in parts) <= size


def test_counts_of_short_words_stay() -> None:
    counts = Counter({"a": 3, "中文": 2, "x" * 10: 1})
    assert cut_long_words(counts, 10) == counts
    assert cut_long_words({"ababab": 3, "ab": 1, "a▅b": 2, "▅": 5}, 2, "▅") == {"ab": 10, "a": 2, "b": 2}


@pytest.mark.parametrize("family", ["albert", "xlm_roberta"])
@pytest.mark.parametrize(("text", "size"), [("".join(SENTENCES) * 200, 27), ("天地玄黄宇宙洪荒" * 500, 18)])
def test_a_long_paragraph_is_learned_from(family: str, text: str, size: int) -> None:
    assert len(text.encode()) > 2 * MAX_WORD_BYTES
    options = VocabularySettings(family, size)
    counts = word_counter(options)([text, "ab " * 50])
    report = report_vocabulary(learn(options, counts), counts)
    assert (report.unknown_rate, report.unknown_character_rate, report.left_out) == (0.0, 0.0, [])


def test_the_report_says_which_characters_are_left_out() -> None:
    options = VocabularySettings("bert", 100, alphabet_size=5)
    counts = Counter({"aab": 10, "abc": 5, "中": 2, "文a": 1, "de": 4, "\u0600": 1})
    report = report_vocabulary(learn(options, counts), counts)
    # a, b, c, d, e are pieces. U+0600 is no character to BERT: it vanishes.
    assert report.left_out == [("中", 2), ("文", 1)]
    assert report.unknown_character_rate == pytest.approx((2 + 1) / (30 + 15 + 2 + 2 + 8 + 1))
    assert describe_report(report)[-1].startswith("left out ")
