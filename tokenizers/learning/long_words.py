"""Cutting runs without white space that are too long for a learner: at a mark, else between two characters."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping


def cut_long_words(word_counts: Mapping[str, int], max_bytes: int, taken_out: str = "") -> Counter[str]:
    """The counts with every word of more than `max_bytes` bytes of UTF-8 in parts, and cut at the characters `taken_out`.

    Words that are short enough stay what they are, so a corpus without long runs has the same counts as before.
    """
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        parts = [word]
        for character in taken_out:
            parts = [part for whole in parts for part in whole.split(character) if part]
        for whole in parts:
            for part in parts_of_word(whole, max_bytes):
                counts[part] += count
    return counts


def parts_of_word(word: str, max_bytes: int) -> Iterator[str]:
    """Parts of at most `max_bytes` bytes, in order; together they are the word.

    A part is as long as it may be and ends behind a punctuation mark or symbol in its second half; where there is none,
    before the last character there that is no combining mark.
    """
    start = 0
    while start < len(word):
        window = word[start : start + max_bytes]
        encoded = window.encode("utf-8", "replace")
        end = len(window)
        if len(encoded) > max_bytes:
            end = len(encoded[:max_bytes].decode("utf-8", "ignore"))
        if start + end < len(word):
            places = range(end, end // 2, -1)
            behind_mark = (place for place in places if unicodedata.category(window[place - 1])[0] in "PS")
            whole = (place for place in places if unicodedata.category(word[start + place])[0] not in "MC")
            end = next(behind_mark, None) or next(whole, None) or max(end, 1)
        yield word[start : start + end]
        start += end
