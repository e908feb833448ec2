"""Random corpora for every learner: a vocabulary whose tokenizer loads again and encodes its corpus, or one line."""

import random
import tempfile

import numpy as np
import pytest
from fuzzing import dice_of_cases

from clozekit.pipelines.settings.vocabulary_settings import FAMILIES, VocabularySettings
from clozekit.pipelines.vocabulary import describe_report, learn, word_counter
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.learning.vocabulary_report import report_vocabulary

# Blocks that the learners, or the normalisation before them, treat in a way of their own.
BLOCKS = (
    "abcdefgh",
    "ÄÖÜßſİÉ",
    "中文字漢語",
    "がハヒ゛ー",
    "한글한",
    "กขคงา",
    "▁▂▅\u2047",
    ".,;!?#",
    "😀👍🏽\u200d",
    "\0\x85\x1c\u2028\u00a0\ufffd",
)


def random_corpus(dice: random.Random) -> list[str]:
    blocks = dice.sample(BLOCKS, dice.randint(1, 4))
    kind = dice.randrange(6)

    def word(longest: int) -> str:
        if dice.random() < 0.1:
            return "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randint(1, longest)))
        return "".join(dice.choices(dice.choice(blocks), k=dice.randint(1, longest)))

    if kind == 0:
        return ["", " \n\t ", "\0"][: dice.randint(0, 3)]
    texts = [" ".join(word(9) for _ in range(dice.randint(1, 30))) for _ in range(dice.randint(1, 6))]
    if kind == 1:
        texts.append("".join(word(9) for _ in range(dice.choice((300, 1500)))))
    if kind == 2:
        texts.append(dice.choice(dice.choice(BLOCKS)) * dice.choice((101, 4001, 9000)))
    return texts * dice.choice((1, 1, 5))


@pytest.mark.parametrize("family", FAMILIES)
def test_fuzz_learners(family: str) -> None:
    learned = 0
    for number, dice in dice_of_cases(15):
        texts = random_corpus(dice)
        size = dice.choice((0, 5, 40, 90, 300, 700, 3000, 10**8, 10**12)) + dice.randrange(30)
        try:
            options = VocabularySettings(family, size, lowercase=dice.choice((None, False)))
            counts = word_counter(options)(texts)
            tokenizer = learn(options, counts)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 600, number
            continue
        learned += 1
        assert 0 < tokenizer.vocabulary_size() <= size
        with tempfile.TemporaryDirectory() as directory:
            tokenizer.save(directory)
            again = load_tokenizer(directory)
        assert again.sha256() == tokenizer.sha256() and learn(options, counts).sha256() == tokenizer.sha256()
        ids, lengths = again.encode_batch(texts)
        assert len(lengths) == len(texts) and np.array_equal(ids, tokenizer.encode_batch(texts).token_ids)
        report = report_vocabulary(tokenizer, counts)
        rates = (report.coverage_rate, report.unknown_rate, report.unknown_character_rate)
        assert all(0 <= rate <= 1 for rate in rates) and (report.coverage_rate == 1) == (report.unknown_rate == 0)
        assert all("\n" not in line for line in describe_report(report))
    assert learned > 0
