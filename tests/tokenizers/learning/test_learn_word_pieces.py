"""Learning a vocabulary: the same one from the same counts, in this process and in others."""

import hashlib
import random
import subprocess
import sys
from collections import Counter

import pytest
from tokenizers import normalizers, pre_tokenizers

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.learning.learn_word_pieces import (
    count_cased_words,
    count_lowercased_words,
    learn_alphabet,
    learn_wordpiece,
)

COUNTS = {"low": 5, "lower": 2, "newest": 6, "widest": 3, "wider": 3}
# Every pair of these words is equally frequent, so ties decide everything.
TIES = {f"{a}{b}{c}": 1 for a in "abcdef" for b in "ghijkl" for c in "mnopqr"}


def test_words_are_counted_as_bert_sees_them() -> None:
    counts = count_lowercased_words(["Don't panic: DON'T_42 é"])
    assert counts == {"don": 2, "'": 2, "t": 2, "panic": 1, ":": 1, "_": 1, "42": 1, "e": 1}
    assert count_cased_words(["Don't é"]) == {"Don": 1, "'": 1, "t": 1, "é": 1}


@pytest.mark.parametrize(
    "text",
    [
        "हिन्दी में ५€",
        "a°b, x→y; don't_stop!",
        "ที่นี่",
        "中文和 kana かな",
        "«Ünï» — code `x^2` <a|b> 10$ …",
        "e\u0301 \u00bd\t\n x\u200by",
    ],
)
@pytest.mark.parametrize("lowercase", [True, False])
def test_words_are_those_of_the_tokenizer(text: str, lowercase: bool) -> None:
    normalized = normalizers.BertNormalizer(lowercase=lowercase).normalize_str(text)
    words = [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalized)]
    count = count_lowercased_words if lowercase else count_cased_words
    assert count([text]) == Counter(words)


def test_known_merges() -> None:
    # Sennrich et al. 2016 (arXiv 1508.07909, section 3.2): "e s", then "es t" are the most frequent pairs.
    pieces = learn_wordpiece(COUNTS, 40)
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabet = learn_alphabet(COUNTS)
    assert pieces[5 : 5 + 2 * len(alphabet)] == [*alphabet, *(f"##{letter}" for letter in alphabet)]
    assert pieces[5 + 2 * len(alphabet) :][:2] == ["##es", "##est"]
    assert len(set(pieces)) == len(pieces)


def test_every_word_of_the_counts_can_be_written() -> None:
    tokenizer = BertTokenizer(learn_wordpiece(COUNTS, 40))
    ids = tokenizer.encode_batch(list(COUNTS)).token_ids
    assert tokenizer.token_to_id("[UNK]") not in ids


def test_word_pieces_are_the_same_from_every_process_and_order() -> None:
    program = (
        "import random, sys; from clozekit.tokenizers.learning.learn_word_pieces import learn_wordpiece;"
        "words = [a + b + c for a in 'abcdef' for b in 'ghijkl' for c in 'mnopqr'];"
        "random.Random(int(sys.argv[1])).shuffle(words);"
        "print(' '.join(learn_wordpiece(dict.fromkeys(words, 1), 80)))"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", program, str(seed)], capture_output=True, text=True, check=True).stdout
        for seed in range(3)
    }
    assert outputs == {" ".join(learn_wordpiece(TIES, 80)) + "\n"}


@pytest.mark.parametrize(
    ("counts", "size", "message"), [({}, 100, "the input has none"), (COUNTS, 20, "must be at least 25")]
)
def test_a_vocabulary_of_too_few_words_or_pieces_is_refused(counts: dict[str, int], size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn_wordpiece(counts, size)


# 3,000 characters, as often as those of a language: the thousand most frequent ones are 86% of the text.
CHINESE = {chr(0x4E00 + rank): 30_000 // (rank + 1) for rank in range(3000)}


@pytest.mark.parametrize(
    ("size", "alphabet_size", "expected"),
    [
        (30_522, None, 3000),
        (6005, None, 3000),
        # No room for all: half of the pieces continue words.
        (4005, None, 2000),
        (30_522, 500, 500),
        (30_522, 2500, 2500),
    ],
)
def test_the_alphabet_grows_where_there_is_room(size: int, alphabet_size: int | None, expected: int) -> None:
    pieces = set(learn_wordpiece(CHINESE, size, alphabet_size))
    assert sum(character in pieces for character in CHINESE) == expected


def test_characters_that_are_rare_do_not_crowd_out_pieces() -> None:
    # 1,500 characters once each in 100 million: a corpus of one script with odd ones in it keeps its thousand.
    counts = {"the": 50_000_000, **{chr(0x4E00 + number): 1 for number in range(1500)}}
    assert len(learn_alphabet(counts, room=15_000)) == 1000


def test_private_characters_of_a_corpus_are_not_those_of_the_learner() -> None:
    words = {"\U000f0001a\U000f0000": 5, "ab": 3}
    assert "\U000f0001a\U000f0000" in unite(learn_wordpiece(words, 60))


def unite(pieces: list[str]) -> list[str]:
    return [piece.removeprefix("##") for piece in pieces]


# sha256 of the pieces that version 0.1.0 with its fixed alphabet learned from these words (its `learn_wordpiece`).
def test_ordinary_corpora_have_the_vocabulary_they_had() -> None:
    dice = random.Random(7)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyzäöüéß", k=dice.randint(1, 7))) for _ in range(400)]
    learned = learn_wordpiece(Counter(words), 300)
    assert hashlib.sha256(repr(learned).encode()).hexdigest()[:16] == "fdc32f3cba09f1db"


@pytest.mark.parametrize("size", [10**8, 10**12])
def test_a_size_beyond_the_corpus_gives_what_there_is(size: int) -> None:
    assert learn_wordpiece(COUNTS, size) == learn_wordpiece(COUNTS, 200)


@pytest.mark.parametrize("alphabet_size", [0, -1, 10**6])
def test_an_impossible_alphabet_is_refused(alphabet_size: int) -> None:
    with pytest.raises(InputError, match="alphabet_size must be from 1 to 100,000"):
        learn_wordpiece(COUNTS, 100, alphabet_size)
