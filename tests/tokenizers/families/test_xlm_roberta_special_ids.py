"""An XLM-RoBERTa whose special tokens have other ids than fairseq's, as `train_new_from_iterator` writes one: <mask> is 4."""

from pathlib import Path

import pytest
import small_families as small

from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer

IDS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}


def with_ids() -> XLMRobertaTokenizer:
    return XLMRobertaTokenizer(small.sentence_pieces(), special_ids=IDS)


def test_the_pieces_have_the_ids_that_are_left() -> None:
    usual, ours = XLMRobertaTokenizer(small.sentence_pieces()), with_ids()
    assert ours.get_vocabulary() == [*IDS, *usual.get_vocabulary()[4:-1]]
    assert ours.token_to_id("<mask>") == 4
    for text in small.TEXTS:
        assert [i + 1 if i > 3 else i for i in usual.tokenize(text).tolist()] == ours.tokenize(text).tolist()


@pytest.mark.parametrize("layout", ["ours", "Hugging Face"])
def test_other_ids_of_special_tokens_are_kept(layout: str, tmp_path: Path) -> None:
    tokenizer = with_ids()
    if layout == "ours":
        tokenizer.save(tmp_path)
    else:
        write_huggingface_tokenizer(tokenizer, tmp_path, 32)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocabulary() == tokenizer.get_vocabulary()
    assert loaded.tokenize(small.TEXTS[0]).tolist() == tokenizer.tokenize(small.TEXTS[0]).tolist()
