"""Tokens added to a model: every family, the function on old ids as it was, there and back with Hugging Face's layout."""

from pathlib import Path

import numpy as np
import pytest
import small_families

from clozekit.model import MaskedLM
from clozekit.model.families.grow_vocabulary import with_added_tokens
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.tokenizers.common.errors import InputError

NEW = ("homework", "brown-fox")
TEXT = "the quick homework of a brown-fox, homeworks"


# Rows of no piece, which the new tokens take: one family for some and for more than enough of them.
@pytest.mark.parametrize(("name", "unused"), [*((name, 0) for name in small_families.NAMES), ("bert", 1), ("bert", 5)])
def test_a_new_token_begins_as_the_mean_of_its_pieces(name: str, unused: int, tmp_path: Path) -> None:
    size = small_families.tokenizer(name).vocabulary_size()
    # One activation and one epsilon, as Hugging Face has them.
    changes = {"vocabulary_size": size + unused, "activation": "gelu", "layer_norm_epsilon": 1e-12}
    head = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-12}
    task = small_families.masked_lm(name, small_families.masked_lm_preprocessor(name), changes, **head)
    old = task.preprocessor.tokenizer
    more = with_added_tokens(task, [*NEW, *old.get_vocabulary()[-1:]])
    new = more.preprocessor.tokenizer
    assert new.vocabulary_size() == size + 2
    assert more.backbone.vocabulary_size == max(size + 2, size + unused)
    ids = new.encode_batch([TEXT]).token_ids.tolist()
    # Whole words alone.
    assert [ids.count(new.token_to_id(text)) for text in NEW] == [1, 1]
    pieces = old.encode_batch([NEW[0]]).token_ids
    for before, after in (
        (task.backbone.token_embedding.embeddings, more.backbone.token_embedding.embeddings),
        (task.masked_lm_head.parts().bias, more.masked_lm_head.parts().bias),
    ):
        before, after = np.asarray(before), np.asarray(after)
        np.testing.assert_array_equal(after[:size], before[:size])
        np.testing.assert_allclose(after[size], before[pieces].mean(axis=0), rtol=1e-6)
        np.testing.assert_array_equal(after[size + 2 :], before[size + 2 :])
    rows = small_families.batch(name)
    a, b = (np.asarray(one.masked_logits(rows))[..., :size] for one in (task, more))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    save_huggingface(more, tmp_path / "hf")
    back = MaskedLM.from_preset(str(tmp_path / "hf"), compile=False)
    assert back.preprocessor.tokenizer.encode_batch([TEXT]).token_ids.tolist() == ids
    np.testing.assert_array_equal(np.asarray(back.masked_logits(rows)), np.asarray(more.masked_logits(rows)))


def test_what_is_no_token_is_refused() -> None:
    task = small_families.masked_lm("bert", small_families.masked_lm_preprocessor("bert"))
    with pytest.raises(InputError, match="a text without white space, got 'two words'"):
        with_added_tokens(task, ["two words"])
    with pytest.raises(InputError, match="this task has none"):
        with_added_tokens(small_families.masked_lm("bert"), ["word"])
