"""Filled masks and pseudo-perplexity: the softmax over ordinary pieces, the same alone and among many texts."""

import keras
import numpy as np
import pytest

from clozekit.model import BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor
from clozekit.model.tasks.fill_mask import encode_texts
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


@pytest.fixture
def task(tokenizer: BertTokenizer) -> BertMaskedLM:
    keras.utils.set_random_seed(0)
    backbone = BertBackbone(tokenizer.vocabulary_size(), 2, 2, 16, 32, max_sequence_length=48)
    task = BertMaskedLM(backbone, BertMaskedLMPreprocessor(tokenizer, sequence_length=16))
    task.masked_lm_head._output_bias.assign(keras.random.normal((tokenizer.vocabulary_size(),)))
    return task


def test_the_guesses_are_the_softmax_over_ordinary_pieces(task: BertMaskedLM, tokenizer: BertTokenizer) -> None:
    text = "the [MASK] sat on [MASK]"
    guesses = task.fill_mask(text, top_k=tokenizer.vocabulary_size() - 5)
    assert len(guesses) == 2
    for best in guesses:
        assert sum(guess.probability for guess in best) == pytest.approx(1.0, rel=1e-9)
        assert [guess.probability for guess in best] == sorted((guess.probability for guess in best), reverse=True)
        assert not {guess.piece for guess in best} & set(tokenizer.special_token_names.values())
        assert all(tokenizer.id_to_token(guess.token_id) == guess.piece for guess in best)
    assert task.fill_mask(text, top_k=3) == [best[:3] for best in guesses]


@pytest.mark.slow
def test_many_texts_are_filled_as_each_alone(task: BertMaskedLM) -> None:
    texts = ["the [MASK] sat", "[MASK] " * 5, "the cat " * 20 + "[MASK]", "[MASK]"]
    for together, text in zip(task.fill_mask(texts, top_k=4), texts, strict=True):
        for best, alone in zip(together, task.fill_mask(text, top_k=4), strict=True):
            assert [guess.piece for guess in best] == [guess.piece for guess in alone]
            assert [guess.probability for guess in best] == pytest.approx(
                [guess.probability for guess in alone], rel=1e-5
            )
    assert task.fill_mask([]) == []


def test_masks_stand_where_the_text_has_them(tokenizer: BertTokenizer) -> None:
    (ids,) = encode_texts(["[MASK] the cat[MASK]."], tokenizer, 16)
    assert [tokenizer.id_to_token(token_id) for token_id in ids] == [
        "[CLS]", "[MASK]", "the", "cat", "[MASK]", ".", "[SEP]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [("no mask", r"must hold \[MASK\] at least once"), ("[MASK] " + "the " * 60, "at most 48 tokens.*got 63")],
)
def test_texts_that_cannot_be_filled_are_refused(text: str, message: str, task: BertMaskedLM) -> None:
    with pytest.raises(InputError, match=message):
        task.fill_mask(text)


def test_filling_needs_a_preprocessor_and_a_bearable_top_k(task: BertMaskedLM, tokenizer: BertTokenizer) -> None:
    with pytest.raises(InputError, match="top_k must be from 1"):
        task.fill_mask("[MASK]", top_k=tokenizer.vocabulary_size())
    task.preprocessor = None
    with pytest.raises(InputError, match="needs a preprocessor"):
        task.fill_mask("[MASK]")


@pytest.mark.slow
def test_pseudo_perplexity_masks_every_token_once(task: BertMaskedLM, tokenizer: BertTokenizer) -> None:
    """Against the definition, a token at a time."""
    (ids,) = encode_texts(["the cat sat"], tokenizer, 48)
    total = 0.0
    for place in range(1, len(ids) - 1):
        masked = ids.copy()
        masked[place] = tokenizer.token_to_id("[MASK]")
        logits = np.asarray(
            task.masked_logits(
                {
                    "token_ids": masked[None],
                    "padding_mask": np.ones((1, len(ids)), np.int32),
                    "mask_positions": np.array([[place]], np.int32),
                }
            ),
            np.float64,
        )[0, 0]
        total += logits[ids[place]] - np.log(np.exp(logits).sum())
    expected = np.exp(-total / (len(ids) - 2))
    assert task.pseudo_perplexity("the cat sat") == pytest.approx(expected, rel=1e-5)
    assert task.pseudo_perplexity(["the cat sat", "on"])[0] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="at least one token"):
        task.pseudo_perplexity("  ")
