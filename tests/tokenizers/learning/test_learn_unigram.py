"""Unigram models are those of SentencePiece's own trainer, pieces and scores bit for bit, from texts of many kinds."""

import io
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from long_variants import FULL

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.sentence_piece_proto import read_model
from clozekit.tokenizers.kernels import unigram_learner_kernel as kernel
from clozekit.tokenizers.learning.learn_sentence_pieces import (
    count_spaced_words,
    learn_albert,
    learn_deberta_v3,
    learn_xlm_roberta,
)
from clozekit.tokenizers.learning.learn_unigram import SizeError, learn_unigram

# Its trainer takes its seeds otherwise in other versions.
pytestmark = pytest.mark.skipif(
    not sentencepiece.__version__.startswith("0.2.3"), reason="compared with the trainer of sentencepiece 0.2.3"
)
# Family -> how many pieces its tokenizer has besides the model's, how it is learned, the trainer's settings.
FAMILIES: dict[str, tuple[int, Callable[..., bytes], dict[str, Any]]] = {
    "albert": (
        0,
        learn_albert,
        {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"},
    ),
    "xlm_roberta": (2, learn_xlm_roberta, {}),
    "deberta_v3": (
        1,
        learn_deberta_v3,
        {
            **{f"{name}_id": number for number, name in enumerate(("pad", "bos", "eos", "unk"))},
            "pad_piece": "[PAD]",
            "bos_piece": "[CLS]",
            "eos_piece": "[SEP]",
            "unk_piece": "[UNK]",
        },
    ),
}
SYLLABLES = {
    "latin": [first + second for first in "bcdfghlmnprst" for second in ("a", "e", "i", "o", "u", "ar", "en")],
    "two scripts": ["до", "ма", "ni", "ко", "αβ", "ra", "λο", "и", "x", "́"],
    "japanese": ["東", "京", "タワ", "ー", "は", "です", "から", "一", "二", "見", "る", "の", "々"],
    "arabic": ["ال", "كت", "اب", "من", "في", "َ", "ٌ", "س"],
    "indic and marks": ["क्", "षि", "त", "ा", "न", "े", "ಕ", "್", "ನ", "्"],
    "signs": ["=", "==", "-", "/", "*", "::", "_", "9", "42", "x", "0x", "\u00a8", "½", "…"],
    "emoji and rare": ["😀", "👍🏽", "🇩🇪", "a", "b", "\u200d", "𝔘", "ﬁ", "Å", "\ufeff", "\x01"],
    "special pieces": ["<pad>", "[CLS]", "<unk>", "an", "be", "co", "du", "[SEP]", "</s>", "[PAD]", "<s>c", "e", "n"],
    "one character": ["=", "==", "====="],
}


def words_of(kind: str, seed: int, num_words: int) -> dict[str, int]:
    """Words of syllables, some of them often: a few hundred distinct ones, with Zipf's counts."""
    dice = random.Random(seed)
    words: dict[str, int] = {}
    for rank in range(num_words):
        word = "".join(dice.choices(SYLLABLES[kind], k=dice.choice((1, 1, 2, 2, 3, 3, 4, 6, 20))))
        words[word] = words.get(word, 0) + max(1, num_words // (rank + 1) - dice.randrange(3))
    return words


def by_library(
    words: Mapping[str, int], size: int, lowercase: bool, coverage: float, settings: Mapping[str, Any]
) -> list[tuple[str, float, int]]:
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        path.write_text("".join(f"{word}\t{count}\n" for word, count in sorted(words.items())), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(path),
            input_format="tsv",
            model_writer=out,
            vocab_size=size,
            character_coverage=coverage,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            num_threads=1,
            minloglevel=3,
            **settings,
        )
    model = read_model(out.getvalue(), "the library's model")
    return list(zip(model.pieces, model.scores, model.types, strict=True))


def compared(family: str, words: Mapping[str, int], size: int, lowercase: bool, coverage: float) -> bool:
    """Whether there was a model to compare; both refuse, or both learn the same."""
    num_added, learn, settings = FAMILIES[family]
    try:
        expected = by_library(words, size - num_added, lowercase, coverage, settings)
    except RuntimeError:
        with pytest.raises(InputError):
            learn(words, size, lowercase, coverage)
        return False
    model = read_model(learn(words, size, lowercase, coverage), "our model")
    assert list(zip(model.pieces, model.scores, model.types, strict=True)) == expected
    return True


@pytest.mark.parametrize("kind", SYLLABLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_and_scores_are_the_librarys(family: str, kind: str) -> None:
    dice = random.Random(f"{family} {kind}")
    num_compared = 0
    for seed in range(80 if FULL else 4):
        num_words, size = ((2000, 250), (300, 70), (60, 40), (2000, dice.randrange(12, 1200)))[seed % 4]
        if kind == "one character":
            size = 8 + seed % 11
        words = words_of(kind, seed, num_words)
        num_compared += compared(family, words, size, dice.random() < 0.5, dice.choice((0.98, 0.99, 0.9995, 1.0)))
    assert num_compared


def test_pieces_of_real_text_are_the_librarys() -> None:
    """Sources of the standard library: English, signs and names, thousands of distinct words."""
    folder = Path(os.__file__).parent
    texts = [
        (folder / name).read_text(encoding="utf-8") for name in ("argparse.py", "typing.py", "difflib.py", "ast.py")
    ]
    assert compared("albert", count_spaced_words(texts), 1000, True, 0.9995)


def test_the_size_that_words_allow_is_told() -> None:
    with pytest.raises(SizeError, match="no fewer than 5 pieces"):
        learn_unigram([("\u2581abc", 2)], 3, 1, 1.0)
    with pytest.raises(SizeError, match="at most 7 pieces"):
        learn_unigram([("\u2581abc", 2), ("\u2581abd", 1)], 100, 1, 1.0)


@pytest.mark.skipif(not FULL, reason="compiles all kernels again; CLOZEKIT_FULL=1 runs it")
def test_the_kernels_stay_inside_of_their_arrays(tmp_path: Path) -> None:
    """With Numba's checks, on words of which several end as the last one does."""
    program = (
        "from clozekit.tokenizers.learning.learn_unigram import learn_unigram\n"
        "words = [(f'\u2581{a}{b}{c}', 3) for a in 'abc' for b in ('', 'de', 'fgh') for c in 'ijb']\n"
        "print(len(learn_unigram(words, 18, 3, 1.0)))\n"
    )
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "18\n", done.stderr


@pytest.mark.parametrize("depth", [2, 17])
def test_suffixes_are_sorted(depth: int) -> None:
    dice = np.random.default_rng(0)
    text = np.concatenate([dice.integers(0, 3, 5000), [0]]).astype(np.int32)
    places = np.flatnonzero(text).astype(np.int32)

    def key(place: int) -> list[int]:
        suffix = text[place : place + depth].tolist()
        return suffix[: suffix.index(0) + 1] if 0 in suffix else suffix

    expected = sorted(key(place) for place in places.tolist())
    kernel.sort_suffixes(text, places, depth)
    assert [key(place) for place in places.tolist()] == expected
