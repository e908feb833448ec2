"""The whole path: a checkpoint that transformers or KerasHub made, adapted, exported, and asked again over there.

Needs the extra `parity`.
"""

import json
import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families
from long_variants import FULL
from run_commands import run_command

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from clozekit.model import MaskedLM  # noqa: E402
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer  # noqa: E402

STEPS = 200
POSITIONS = 40
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
DISTIL = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
# Family, changes to its configuration, class behind the family's prefix, how it is saved.
CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "bert": ("bert", {}, "ForMaskedLM", {}),
    "relu and an epsilon": ("bert", {"hidden_act": "relu", "layer_norm_eps": 1e-3}, "ForMaskedLM", {}),
    "with a pooler, in shards": ("bert", {}, "ForPreTraining", {"max_shard_size": "4KB"}),
    "bfloat16": ("bert", {"hidden_act": "gelu_new"}, "ForMaskedLM", {"dtype": "bfloat16"}),
    "distil_bert": ("distil_bert", {"activation": "relu"}, "ForMaskedLM", {}),
    "roberta": ("roberta", {"type_vocab_size": 1}, "ForMaskedLM", {}),
    "albert": ("albert", {"embedding_size": 8, "hidden_act": "gelu"}, "ForMaskedLM", {}),
    "xlm_roberta": ("xlm_roberta", {"type_vocab_size": 1}, "ForMaskedLM", {}),
}


def texts(path: Path) -> str:
    """Sentences of the words that the small tokenizers know."""
    dice = random.Random(0)
    lines = [" ".join(dice.choices(small_families.TEXTS[:3], k=dice.randint(1, 3))) for _ in range(160)]
    path.write_text("".join(json.dumps({"text": f"{line} a dog {n}"}) + "\n" for n, line in enumerate(lines)))
    return str(path)


def adapted(preset: str, folder: Path) -> Path:
    """The folder of `clozekit adapt`: the loss on the validation split fell."""
    output = folder / "adapted"
    small = [f"train.steps={STEPS}", "train.global_batch_size=8", "train.micro_batch_size=4", "train.xla=false"]
    small += [
        "optimizer.learning_rate=0.01",
        "evaluate.every_steps=1000",
        "evaluate.max_rows=16",
        "rows.sequence_length=24",
    ]
    small += ["rows.validation_rate=0.2"]
    words = ["adapt", preset, "--input", texts(folder / "texts.jsonl"), "--output", str(output)]
    run_command([*words, *small])
    measured = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert measured["after"]["loss"] < measured["before"]["loss"] - 0.3
    return output


def of_transformers(case: str, directory: Path) -> Any:
    """Saves a checkpoint of transformers with its own tokenizer; returns its configuration."""
    family, changes, kind, how = CASES[case]
    tokenizer = small_families.tokenizer(family)
    sizes = {**(DISTIL if family == "distil_bert" else SMALL), **changes}
    positions = POSITIONS + (2 if "roberta" in family else 0)
    # More rows than pieces, as most published checkpoints have.
    sizes |= {"vocab_size": tokenizer.vocabulary_size() + 5, "max_position_embeddings": positions}
    prefix = small_families.family(family).backbone.__name__.removesuffix("Backbone")
    torch.manual_seed(0)
    model = getattr(transformers, prefix + kind)(getattr(transformers, f"{prefix}Config")(**sizes))
    how = dict(how)
    model.to(getattr(torch, how.pop("dtype", "float32"))).save_pretrained(directory, **how)
    write_huggingface_tokenizer(tokenizer, directory, POSITIONS)
    transformers.AutoTokenizer.from_pretrained(directory).save_pretrained(directory)
    return model.config


def fills_alike(preset: Path, folder: Path) -> Any:
    """Converts a preset for transformers, whose five guesses for a mask must be ours; returns the model there."""
    run_command(["convert", str(preset), str(folder), "--to", "huggingface"])
    fill = transformers.pipeline("fill-mask", model=str(folder), top_k=5, device="cpu")
    text = f"the quick brown {fill.tokenizer.mask_token} jumped over"
    [ours], theirs = MaskedLM.from_preset(str(preset)).fill_mask(text, top_k=5), fill(text)
    assert [guess.token_id for guess in ours] == [guess["token"] for guess in theirs]
    # There the rows of no piece have a share of the probability too.
    shares = np.array([[guess.probability for guess in ours], [guess["score"] for guess in theirs]])
    np.testing.assert_allclose(*shares / shares.sum(axis=1, keepdims=True), rtol=1e-3)
    return fill.model


# Twenty seconds of a processor each: TensorFlow traces the steps and the evaluations, the 200 steps themselves take seven.
SOME_CASES = list(CASES) if FULL else ["relu and an epsilon", "roberta"]


@pytest.mark.parametrize("case", SOME_CASES)
def test_an_adapted_checkpoint_of_transformers_fills_masks_there_alike(case: str, tmp_path: Path) -> None:
    before = of_transformers(case, tmp_path / "theirs")
    output = adapted(str(tmp_path / "theirs"), tmp_path)
    after = fills_alike(output / "preset", tmp_path / "back").config
    assert type(after) is type(before)
    same = ["vocab_size", "max_position_embeddings", *(DISTIL if case == "distil_bert" else SMALL)]
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]


@pytest.mark.parametrize("name", small_families.NAMES if FULL else ["albert"])
def test_an_adapted_preset_of_keras_hub_computes_there_and_in_transformers_alike(name: str, tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    prefix = small_families.family(name).backbone.__name__.removesuffix("Backbone")
    own = small_families.masked_lm(name, small_families.masked_lm_preprocessor(name, sequence_length=32))
    own.save_to_preset(str(tmp_path / "ours"))
    theirs = getattr(keras_hub.models, f"{prefix}MaskedLM").from_preset(str(tmp_path / "ours"))
    theirs.save_to_preset(str(tmp_path / "theirs"))
    output = adapted(str(tmp_path / "theirs"), tmp_path)
    run_command(["convert", str(output / "preset"), str(tmp_path / "back"), "--to", "keras_hub"])
    again = getattr(keras_hub.models, f"{prefix}MaskedLM").from_preset(str(tmp_path / "back"), load_weights=True)
    rows = small_families.batch(name)
    task: Any = MaskedLM.from_preset(str(output / "preset"))
    expected = keras.ops.convert_to_numpy(again(rows))
    found = keras.ops.convert_to_numpy(task(rows))
    assert np.abs(expected - found).max() <= 1e-4 * np.abs(expected).max()
    fills_alike(output / "preset", tmp_path / "for transformers")
