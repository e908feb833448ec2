"""Merges are those of Hugging Face's trainer, repeats and ties included; large counts are scaled."""

import json
import random
from collections import Counter

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from clozekit.tokenizers.learning.learn_merges import MAX_LEARNER_WORDS, learn_merges, scaled_down


def reference(words: dict[str, int], alphabet: str, size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and merges of the library, which takes each word as often as it stands in the corpus."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=list(alphabet), show_progress=False)
    learner.train_from_iterator((" ".join([word] * count) for word, count in words.items()), trainer)
    ids = learner.get_vocab()
    return sorted(ids, key=ids.__getitem__), [
        (left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]
    ]


@pytest.mark.parametrize("alphabet", ["a", "ab", "abc", "abcdefgh"])
@pytest.mark.parametrize("longest", [3, 9, 40])
def test_merges_are_those_of_the_library(alphabet: str, longest: int) -> None:
    for seed in range(8):
        dice = random.Random(seed)
        drawn = ("".join(dice.choices(alphabet, k=dice.randint(1, longest))) for _ in range(150))
        words = {word: count * dice.choice([1, 1, 2, 5]) for word, count in Counter(drawn).items()}
        size = len(alphabet) + dice.choice([3, 30, 300])
        assert learn_merges(words, alphabet, size) == reference(words, alphabet, size)


def test_more_pairs_and_pieces_than_the_first_tables_hold() -> None:
    dice = random.Random(0)
    alphabet = "".join(chr(0x4E00 + number) for number in range(3000))
    words = dict(Counter("".join(dice.choices(alphabet, k=5)) for _ in range(12_000)))
    assert learn_merges(words, alphabet, 9000) == reference(words, alphabet, 9000)


def test_characters_inside_of_words_may_be_symbols_of_their_own() -> None:
    # The pair "ab" begins words three times, is inside of them twice.
    pieces, merges = learn_merges({"ab": 3, "cab": 2}, "abcABC", 8, dict(zip("abc", "ABC", strict=True)))
    assert pieces == ["A", "B", "C", "a", "b", "c", "aB", "AB"]
    assert merges == [("a", "B"), ("A", "B")]


def test_nothing_is_learned_from_nothing() -> None:
    assert learn_merges({}, "ab", 100) == (["a", "b"], [])
    assert learn_merges({"a": 3, "": 1, "b": 1}, "ab", 100) == (["a", "b"], [])


def test_large_counts_are_scaled_and_small_ones_stay() -> None:
    assert scaled_down({"a": 3, "b": 1}) == {"a": 3, "b": 1}
    assert scaled_down({"a": 4 * MAX_LEARNER_WORDS - 4, "b": 4}) == {"a": MAX_LEARNER_WORDS - 1, "b": 1}
