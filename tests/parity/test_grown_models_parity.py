"""Models with added tokens, both ways with transformers: the same ids, the same logits; what was grown there is adapted here.

Needs the extra `parity`.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as small
from long_variants import FULL
from run_commands import run_command

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from clozekit.model import MaskedLM  # noqa: E402
from clozekit.model.families.grow_vocabulary import with_added_tokens  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface  # noqa: E402

NEW = ["foxtrot", "dogged", "homeworks"]
TEXT = "the foxtrot jumped over homeworks , dogged foxtrots"


def their_logits(model: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model.eval()(input_ids=torch.tensor([ids])).logits[0])


def our_logits(task: Any, ids: list[int]) -> np.ndarray:
    rows = {"token_ids": np.array([ids], np.int32), "padding_mask": np.ones((1, len(ids)), np.int32)}
    if "segment_ids" in [tensor.name for tensor in task.inputs]:
        rows["segment_ids"] = np.zeros_like(rows["token_ids"])
    rows["mask_positions"] = np.arange(len(ids), dtype=np.int32)[None]
    return np.asarray(keras.ops.convert_to_numpy(task.masked_logits(rows)))[0]


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def assert_same_there(task: Any, folder: Path) -> Any:
    """The tokenizer and the model of transformers give the ids and the logits of the task; returns the model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    ids = tokenizer(TEXT)["input_ids"]
    assert ids[1:-1] == [int(token_id) for token_id in task.preprocessor.tokenizer.tokenize(TEXT)]
    assert {tokenizer.convert_tokens_to_ids(token) for token in NEW} <= set(ids)
    assert_close(our_logits(task, ids), their_logits(model, ids))
    return model


def of_huggingface(name: str, folder: Path) -> Any:
    """A small masked LM that went through transformers, so that one epsilon describes all of it."""
    task = small.masked_lm(name, small.masked_lm_preprocessor(name, sequence_length=32), head_layer_norm_epsilon=1e-5)
    save_huggingface(task, folder)
    (folder / "clozekit.json").unlink()
    return MaskedLM.from_preset(str(folder))


@pytest.mark.filterwarnings("ignore:transformers will compute")
@pytest.mark.parametrize("name", small.NAMES)
def test_a_model_grown_here_is_the_same_there(name: str, tmp_path: Path) -> None:
    grown = with_added_tokens(of_huggingface(name, tmp_path / "first"), NEW)
    save_huggingface(grown, tmp_path / "grown")
    model = assert_same_there(grown, tmp_path / "grown")
    # As transformers' own way of adding them: the old rows stay, the new ones are behind.
    before = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "first")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "first")
    old = len(tokenizer)
    tokenizer.add_tokens(NEW)
    before.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "grown")
    assert [again.convert_tokens_to_ids(token) for token in NEW] == tokenizer.convert_tokens_to_ids(NEW)
    tables = [each.get_input_embeddings().weight.detach().numpy() for each in (model, before)]
    assert tables[0].shape == tables[1].shape
    np.testing.assert_array_equal(tables[0][:old], tables[1][:old])


@pytest.mark.filterwarnings("ignore:transformers will compute")
@pytest.mark.parametrize("multiple", [None, 64])
@pytest.mark.parametrize("name", small.NAMES)
def test_a_model_grown_there_is_the_same_here_and_back(name: str, multiple: int | None, tmp_path: Path) -> None:
    theirs = grown_there(name, multiple, tmp_path)
    ours = MaskedLM.from_preset(str(theirs))
    assert multiple is None or ours.backbone.vocabulary_size % multiple == 0
    assert_same_there(ours, theirs)
    run_command(["convert", str(theirs), str(tmp_path / "back"), "--to", "huggingface"])
    assert_same_there(ours, tmp_path / "back")


def grown_there(name: str, multiple: int | None, folder: Path) -> Path:
    """A model whose tokens transformers added; its rows are filled up to a multiple."""
    of_huggingface(name, folder / "first")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "first")
    tokenizer.add_tokens([transformers.AddedToken(token, single_word=True) for token in NEW])
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder / "first")
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=False)
    for part in (model, tokenizer):
        part.save_pretrained(folder / "theirs")
    return folder / "theirs"


@pytest.mark.parametrize("name", small.NAMES if FULL else ["bert"])
def test_a_model_grown_there_is_adapted(name: str, tmp_path: Path) -> None:
    theirs = grown_there(name, 64, tmp_path)
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text(
        "".join(json.dumps({"text": f"{text} {TEXT} {n}"}) + "\n" for n in range(8) for text in small.TEXTS)
    )
    output = tmp_path / "adapted"
    short = ["train.steps=2", "train.global_batch_size=4", "train.micro_batch_size=4", "train.xla=false"]
    short += ["rows.sequence_length=24", "rows.validation_rate=0.2", "evaluate.max_rows=4"]
    run_command(["adapt", str(theirs), "--input", str(corpus), "--output", str(output), *short])
    run_command(["convert", str(output / "preset"), str(tmp_path / "back"), "--to", "huggingface"])
    task: Any = MaskedLM.from_preset(str(output / "preset"))
    model = assert_same_there(task, tmp_path / "back")
    assert model.config.vocab_size == task.backbone.vocabulary_size
