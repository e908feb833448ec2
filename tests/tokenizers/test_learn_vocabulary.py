"""Learning a vocabulary: the same one from the same counts, in this process and in others."""

import subprocess
import sys
from collections import Counter

import pytest
from tokenizers import normalizers, pre_tokenizers

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import BertTokenizer
from clozekit.tokenizers.learn_vocabulary import count_words, learn_alphabet, learn_wordpiece

COUNTS = {"low": 5, "lower": 2, "newest": 6, "widest": 3, "wider": 3}
# Every pair of these words is equally frequent, so ties decide everything.
TIES = {f"{a}{b}{c}": 1 for a in "abcdef" for b in "ghijkl" for c in "mnopqr"}


def test_words_are_counted_as_bert_sees_them() -> None:
    counts = count_words(["Don't panic: DON'T_42 é"], lowercase=True)
    assert counts == {"don": 2, "'": 2, "t": 2, "panic": 1, ":": 1, "_": 1, "42": 1, "e": 1}
    assert count_words(["Don't é"], lowercase=False) == {"Don": 1, "'": 1, "t": 1, "é": 1}


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
    assert count_words([text], lowercase) == Counter(words)


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


def test_other_processes_and_orders_learn_the_same() -> None:
    program = (
        "import random, sys; from clozekit.tokenizers.learn_vocabulary import learn_wordpiece;"
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
def test_too_little_is_refused(counts: dict[str, int], size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn_wordpiece(counts, size)
