"""The heads of sentence pairs against transformers' BertForPreTraining and AlbertForPreTraining, both ways, and their loss.

Needs the extra `parity`.
"""

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
import tensorflow as tf

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
keras_hub = pytest.importorskip("keras_hub")

from clozekit.model import MaskedLM  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface  # noqa: E402
from clozekit.model.training.objectives import pair_objective  # noqa: E402

SIZES = {"vocab_size": 45, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
SIZES |= {"num_hidden_layers": 2, "max_position_embeddings": 32}
# Family -> settings of transformers' configuration besides the sizes.
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "bert": [
        {},
        {"hidden_act": "relu", "layer_norm_eps": 1e-5},
        {"hidden_act": "gelu_new", "type_vocab_size": 3, "num_attention_heads": 4},
        {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": 1},
    ],
    "albert": [
        {"embedding_size": 8},
        {"embedding_size": 3, "type_vocab_size": 3, "pad_token_id": 7, "num_attention_heads": 1, "hidden_act": "silu"},
        {"embedding_size": 16, "hidden_act": "gelu", "num_hidden_groups": 2},
        {"embedding_size": 12, "inner_group_num": 2, "classifier_dropout_prob": 0.3, "layer_norm_eps": 1e-6},
    ],
}
CASES = [(name, more) for name, each in CONFIGS.items() for more in each]
CLASSES = {"bert": ("BertConfig", "BertForPreTraining"), "albert": ("AlbertConfig", "AlbertForPreTraining")}


def assert_close(ours: Any, theirs: Any) -> None:
    a, b = np.asarray(keras.ops.convert_to_numpy(ours)), theirs.detach().numpy()
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def their_outputs(model: Any, batch: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """Logits of the masked positions, and of the pairs."""
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    with torch.no_grad():
        outputs = model(**{theirs: torch.tensor(batch[ours].astype(np.int64)) for ours, theirs in names.items()})
    places = torch.tensor(batch["mask_positions"].astype(np.int64))
    logits = torch.gather(outputs[0], 1, places[:, :, None].expand(-1, -1, outputs[0].shape[-1]))
    return logits, outputs[1]


def batch_of(name: str) -> dict[str, np.ndarray]:
    return families.batch(name) | {"token_ids": np.random.default_rng(0).integers(5, 45, (3, 12)).astype(np.int32)}


@pytest.mark.parametrize(("name", "more"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_a_checkpoint_of_transformers_goes_there_and_back(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config_class, model_class = (getattr(transformers, one) for one in CLASSES[name])
    theirs = model_class(config_class(**{**SIZES, **more})).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = MaskedLM.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    batch = batch_of(name)
    logits, pairs = their_outputs(theirs, batch)
    assert_close(ours.masked_logits(batch), logits)
    assert_close(ours.pair_logits(batch)[:, 0], pairs)

    save_huggingface(ours, tmp_path / "ours")
    again, report = model_class.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"] and not report["unexpected_keys"], report
    for one, other in zip(their_outputs(again.eval(), batch), (logits, pairs), strict=True):
        assert torch.equal(one, other)
    key = "classifier_dropout_prob"
    assert getattr(again.config, key, None) == getattr(theirs.config, key, None)
    assert again.config.hidden_dropout_prob == theirs.config.hidden_dropout_prob


@pytest.mark.parametrize("name", families.WITH_PAIRS)
def test_a_head_of_ours_computes_the_same_there(name: str, tmp_path: Path) -> None:
    norms = {"head_activation": "gelu_approximate", "head_layer_norm_epsilon": 1e-12}
    ours = families.masked_lm(name, pair_head=True, **norms)
    families.randomize(ours.pair_head, seed=2)
    save_huggingface(ours, tmp_path / "ours")
    theirs = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "ours").eval()
    assert type(theirs).__name__ == CLASSES[name][1]
    batch = families.batch(name)
    logits, pairs = their_outputs(theirs, batch)
    assert_close(ours.masked_logits(batch), logits)
    assert_close(ours.pair_logits(batch)[:, 0], pairs)
    # As another class it is the masked LM alone.
    alone = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    alone.save_pretrained(tmp_path / "alone")
    shutil.copy(tmp_path / "ours" / "clozekit.json", tmp_path / "alone" / "clozekit.json")
    assert MaskedLM.from_preset(str(tmp_path / "alone"), preprocessor=None).pair_head is None


@pytest.mark.parametrize("name", families.WITH_PAIRS)
def test_the_loss_is_that_of_transformers(name: str, tmp_path: Path) -> None:
    norms = {"head_activation": "gelu_approximate", "head_layer_norm_epsilon": 1e-12}
    ours = families.masked_lm(name, pair_head=True, **norms)
    families.randomize(ours.pair_head, seed=2)
    save_huggingface(ours, tmp_path / "ours")
    theirs = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "ours").eval()
    batch = families.batch(name)
    labels = np.array([1, 0, 1])
    weights = np.ones(batch["mask_positions"].shape, np.float32)
    weights[0, -1] = 0
    # Positions of a row are drawn from those that are real, each once.
    targets = np.full(batch["token_ids"].shape, -100)
    for row, places in enumerate(batch["mask_positions"]):
        assert len(set(places.tolist())) == len(places)
        for place, weight in zip(places, weights[row], strict=True):
            targets[row, place] = batch["token_ids"][row, place] if weight else -100
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    given = {there: torch.tensor(batch[here].astype(np.int64)) for here, there in names.items()}
    second = "next_sentence_label" if name == "bert" else "sentence_order_label"
    expected = theirs(**given, labels=torch.tensor(targets), **{second: torch.tensor(labels)}).loss.item()

    pair_labels = np.full(batch["token_ids"].shape, -1, np.int32)
    pair_labels[:, 0] = labels
    mask_ids = np.take_along_axis(batch["token_ids"], batch["mask_positions"], axis=1)
    fed = {**batch, "mask_ids": mask_ids, "mask_weights": weights, "pair_labels": pair_labels}
    fed = {key: tf.constant(value) for key, value in fed.items()}
    sums = pair_objective.OBJECTIVE.sums(ours, fed, False)
    assert float(pair_objective.OBJECTIVE.minimised(sums) / sums.count) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", families.WITH_PAIRS)
def test_keras_hub_takes_the_masked_lm_of_such_a_preset(name: str, tmp_path: Path) -> None:
    ours = families.masked_lm(name, families.masked_lm_preprocessor(name), pair_head=True)
    ours.save_to_preset(str(tmp_path / "preset"))
    theirs = keras_hub.models.MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    batch = families.batch(name)
    expected = keras.ops.convert_to_numpy(ours.masked_logits(batch))
    found = keras.ops.convert_to_numpy(theirs(batch))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
