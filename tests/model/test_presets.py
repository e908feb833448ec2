"""Presets and filled masks: saved, loaded, the same outputs; what is no preset is refused by the file's name."""

import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from clozekit.model.bert import BertBackbone, BertMaskedLM
from clozekit.model.fill_mask import encode_with_masks, fill_mask
from clozekit.model.presets import load_preset, save_preset
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import BertTokenizer


@pytest.fixture
def task(tokenizer: BertTokenizer) -> BertMaskedLM:
    keras.utils.set_random_seed(0)
    backbone = BertBackbone(tokenizer.vocabulary_size(), 2, 2, 16, 32, max_sequence_length=16)
    task = BertMaskedLM(backbone)
    task.masked_lm_head._output_bias.assign(keras.random.normal((tokenizer.vocabulary_size(),)))
    return task


def test_a_loaded_preset_gives_the_same_outputs(task: BertMaskedLM, tokenizer: BertTokenizer, tmp_path: Path) -> None:
    save_preset(task, tokenizer, tmp_path / "preset")
    loaded, loaded_tokenizer = load_preset(tmp_path / "preset")
    assert loaded_tokenizer.sha256() == tokenizer.sha256()
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), task.get_weights(), strict=True))
    text = "the [MASK] sat on the [MASK] ."
    assert fill_mask(loaded, tokenizer, text) == fill_mask(task, tokenizer, text)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_the_files_are_laid_out_as_keras_hub_reads_them(
    task: BertMaskedLM, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    save_preset(task, tokenizer, tmp_path / "preset")
    files = {
        path.relative_to(tmp_path / "preset").as_posix() for path in (tmp_path / "preset").rglob("*") if path.is_file()
    }
    assert files == {
        "config.json", "task.json", "tokenizer.json", "model.weights.h5", "task.weights.h5",
        "assets/tokenizer/vocabulary.txt",
    }  # fmt: skip
    config = json.loads((tmp_path / "preset" / "config.json").read_text(encoding="utf-8"))
    assert config["registered_name"] == "keras_hub>BertBackbone"
    with h5py.File(tmp_path / "preset" / "model.weights.h5") as file:
        shapes = {name: file[name].shape for name in (
            "layers/reversible_embedding/vars/0",
            "layers/position_embedding/vars/0",
            "layers/embedding/vars/0",
            "layers/dense/vars/0",
            "layers/transformer_encoder_1/_self_attention_layer/query_dense/vars/0",
            "layers/transformer_encoder/_feedforward_intermediate_dense/vars/0",
        )}  # fmt: skip
    vocabulary_size = tokenizer.vocabulary_size()
    assert list(shapes.values()) == [(vocabulary_size, 16), (16, 16), (2, 16), (16, 16), (16, 2, 8), (16, 32)]
    with h5py.File(tmp_path / "preset" / "task.weights.h5") as file:
        assert file["layers/masked_lm_head/vars/0"].shape == (vocabulary_size,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"must hold config\.json"),
        ("model.weights.h5", None, r"must hold model\.weights\.h5"),
        ("config.json", b"{", "must describe a backbone, it is damaged"),
        ("model.weights.h5", b"cut", "must hold the weights of the backbone"),
        ("task.weights.h5", b"cut", "must hold the weights of the head"),
    ],
)
def test_what_is_no_preset_is_refused_by_the_files_name(
    name: str, content: bytes | None, message: str, task: BertMaskedLM, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    save_preset(task, tokenizer, tmp_path / "preset")
    if content is None:
        (tmp_path / "preset" / name).unlink()
    else:
        (tmp_path / "preset" / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_preset(tmp_path / "preset")


def test_a_tokenizer_that_does_not_fit_the_embedding_is_refused(
    task: BertMaskedLM, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    save_preset(task, BertTokenizer([*tokenizer.get_vocabulary(), "more"]), tmp_path / "preset")
    with pytest.raises(InputError, match=f"has {tokenizer.vocabulary_size() + 1} pieces and"):
        load_preset(tmp_path / "preset")


def test_the_guesses_are_the_softmax_over_ordinary_pieces(task: BertMaskedLM, tokenizer: BertTokenizer) -> None:
    text = "the [MASK] sat on [MASK]"
    guesses = fill_mask(task, tokenizer, text, top_k=tokenizer.vocabulary_size() - 5)
    assert len(guesses) == 2
    for best in guesses:
        assert sum(guess.probability for guess in best) == pytest.approx(1.0, rel=1e-9)
        assert [guess.probability for guess in best] == sorted((guess.probability for guess in best), reverse=True)
        assert not {guess.piece for guess in best} & set(tokenizer.special_token_names.values())
    assert fill_mask(task, tokenizer, text, top_k=3) == [best[:3] for best in guesses]


def test_masks_stand_where_the_text_has_them(tokenizer: BertTokenizer) -> None:
    ids, positions = encode_with_masks("[MASK] the cat[MASK].", tokenizer, 16)
    assert [tokenizer.id_to_token(token_id) for token_id in ids] == [
        "[CLS]",
        "[MASK]",
        "the",
        "cat",
        "[MASK]",
        ".",
        "[SEP]",
    ]
    assert positions == [1, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [("no mask", r"must hold \[MASK\] at least once"), ("[MASK] " + "the " * 20, "at most 16 tokens")],
)
def test_texts_that_cannot_be_filled_are_refused(
    text: str, message: str, task: BertMaskedLM, tokenizer: BertTokenizer
) -> None:
    with pytest.raises(InputError, match=message):
        fill_mask(task, tokenizer, text)
    assert np.isfinite(task.get_weights()[0]).all()
