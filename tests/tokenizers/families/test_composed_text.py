"""Normal form C of ModernBERT's texts, run by run: what Hugging Face's library makes of the text as a whole."""

import random
import unicodedata

from tokenizers import normalizers

from clozekit.tokenizers.common.text_batch import as_text_batch
from clozekit.tokenizers.families.modern_bert_tokenizer import composed, composed_batch
from clozekit.tokenizers.special_tokens import texts_of

WHOLE = normalizers.NFC()
# Letters that take marks, marks of several classes, Hangul in parts, characters that only decompose, and what changes nothing.
CHARACTERS = [
    *"aeioun ,.\n",
    *"éüå—’漢😀가각",
    *("\u0301", "\u0308", "\u0323", "\u0327", "\u0345", "\u0344", "\u1100", "\u1161", "\u11a8", "\u212b", "\u2126"),
    *("\u0915", "\u093c", "\u0fb2", "\u0f71", "\u0b47", "\u0b3e", "\U0001d15e", "\u00ad", "\u200d"),
]


def test_runs_compose_as_the_whole_text_does() -> None:
    dice = random.Random(1)
    for _ in range(20_000):
        text = "".join(dice.choices(CHARACTERS, k=dice.randrange(1, 12)))
        assert composed(text.encode()) == WHOLE.normalize_str(text).encode(), ascii(text)


def test_a_character_before_a_run_belongs_to_it() -> None:
    for text in ("e\u0301", "xe\u0301x", "\u0301e", "e", "", "\u0301", "cafe\u0301s, cafe\u0301s", "e\u0323\u0302"):
        assert composed(text.encode()) == WHOLE.normalize_str(text).encode(), ascii(text)


def test_long_runs_and_lone_surrogates() -> None:
    long = "\u1100\u1161\u11a8" * 50
    assert composed(long.encode()).decode() == "각" * 50
    text = f"e\u0301 {chr(0xD800)} u\u0308"
    expected = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
    assert composed(text.encode("utf-8", "surrogatepass")) == expected


def test_a_mark_that_begins_a_text_does_not_reach_into_the_one_before() -> None:
    batch = composed_batch(as_text_batch(["cafe", "\u0301 is", "u\u0308"]))
    assert [text.decode() for text in texts_of(batch)] == ["cafe", "\u0301 is", "ü"]
