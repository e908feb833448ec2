"""Every family against transformers: the same weights give the same outputs, losses and gradients, in both directions.

Needs the extra `parity`.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from side_by_side import assert_close, with_random_weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from clozekit.deploy.convert import keras_hub_differences  # noqa: E402
from clozekit.model import Backbone, MaskedLM, TextClassifier  # noqa: E402
from clozekit.model.families.family_table import family_named  # noqa: E402
from clozekit.model.presets.huggingface_heads import HEADS  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface  # noqa: E402
from clozekit.model.presets.huggingface_weights import Place, backbone_places, joined_parts  # noqa: E402
from clozekit.tokenizers.common.family_names import FAMILIES as NAMES  # noqa: E402

FAMILIES = list(NAMES)
PREFIXES = {name: family_named(name).huggingface.class_prefix or family.prefix for name, family in NAMES.items()}
WITH_SEGMENTS = ("bert", "albert", "electra")
# Whose class for pretraining has a head of pairs, and whose body has a pooler.
WITH_PAIRS = ("bert", "albert")
LENGTH, VOCABULARY_SIZE = 12, 40
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
# DistilBERT's names of what the others call alike; None: it has no such setting.
DISTIL_BERT = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "seq_classif_dropout",
    "layer_norm_eps": None,
    "type_vocab_size": None,
}
MODERN_BERT = {
    "hidden_act": "hidden_activation",
    "hidden_dropout_prob": "mlp_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "norm_eps",
    "type_vocab_size": None,
}
# Its pooler's rate is its own, as its last layer's.
DEBERTA_V3 = {"classifier_dropout": "pooler_dropout", "type_vocab_size": None}
# What else the small models of a family have.
OWN: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 8},
    "albert": {"embedding_size": 8, "num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2},
    # Windows that are shorter than the rows, and ids of special tokens that its small vocabulary has.
    "modern_bert": {
        "num_hidden_layers": 4,
        "local_attention": 6,
        "pad_token_id": 0,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
    },
    # As the published ones are, with rows that are longer than what is told apart.
    "deberta_v3": {
        "relative_attention": True,
        "position_biased_input": False,
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 6,
    },
}


def their_name(family: str, setting: str) -> str | None:
    return {"distil_bert": DISTIL_BERT, "modern_bert": MODERN_BERT, "deberta_v3": DEBERTA_V3}.get(family, {}).get(
        setting, setting
    )


def their_setting(theirs: Any, family: str, setting: str) -> Any:
    name = their_name(family, setting)
    return None if name is None else getattr(theirs.config, name)


def their_model(family: str, kind: str, seed: int = 0, **changes: Any) -> Any:
    """A model of transformers with random weights, biases and norms, all its positions used by rows of LENGTH."""
    settings = {**SMALL, **OWN.get(family, {})}
    settings["max_position_embeddings"] = LENGTH + (2 if "roberta" in family else 0)
    named = {name: value for key, value in {**settings, **changes}.items() if (name := their_name(family, key))}
    config = getattr(transformers, f"{PREFIXES[family]}Config")(**named)
    return with_random_weights(getattr(transformers, f"{PREFIXES[family]}{kind}")(config), seed)


def batch(family: str) -> dict[str, np.ndarray]:
    """Rows that are full, padded and short; no token is a special one, and masks stand first and last."""
    dice = np.random.default_rng(7)
    lengths = np.array([LENGTH, 7, 3])
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    pad = 1 if "roberta" in family else 0
    token_ids = np.where(mask, dice.integers(5, VOCABULARY_SIZE, (3, LENGTH)), pad).astype(np.int32)
    rows = {"token_ids": token_ids, "padding_mask": mask}
    if family in WITH_SEGMENTS:
        rows["segment_ids"] = (mask * (np.arange(LENGTH) >= 2)).astype(np.int32)
    rows["mask_positions"] = np.array([[0, 4, LENGTH - 1], [1, 5, 6], [0, 1, 2]], np.int32)
    rows["labels"] = dice.integers(0, VOCABULARY_SIZE, (3, 3)).astype(np.int32)
    return rows


def their_inputs(rows: dict[str, np.ndarray]) -> dict[str, Any]:
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    return {theirs: torch.tensor(rows[ours].astype(np.int64)) for ours, theirs in names.items() if ours in rows}


def our_inputs(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in rows.items() if name not in ("labels", "mask_positions")}


def their_labels(rows: dict[str, np.ndarray]) -> Any:
    labels = torch.full((3, LENGTH), -100)
    for row, positions in enumerate(rows["mask_positions"]):
        labels[row, positions] = torch.tensor(rows["labels"][row].astype(np.int64))
    return labels


def assert_same_masked_lm(family: str, ours: Any, theirs: Any) -> None:
    """Hidden states, logits and loss."""
    rows = batch(family)
    real = rows["padding_mask"] > 0
    expected = theirs(**their_inputs(rows), labels=their_labels(rows), output_hidden_states=True)
    hidden = ours.backbone.encode(**our_inputs(rows))
    assert_close(hidden, expected.hidden_states[-1], real)
    everywhere = {**our_inputs(rows), "mask_positions": np.tile(np.arange(LENGTH, dtype=np.int32), (3, 1))}
    assert_close(ours.masked_logits(everywhere), expected.logits, real)
    assert_close(ours.masked_logits(rows)[0, -1], expected.logits[0, LENGTH - 1])

    assert_close(loss_and_gradients(family, ours, rows)[0], expected.loss)


def loss_and_gradients(family: str, ours: Any, rows: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """The mean loss of the masks, and its gradients by the names and in the shapes of theirs."""
    names = family_named(family).huggingface
    places = [*backbone_places(ours.backbone, names), *HEADS[ours.kind].places(ours, names)]
    if ours.backbone.has_position_table:
        positions = ours.backbone.position_embedding.position_embeddings
        places.append(Place("embeddings.position_embeddings.weight", positions, is_table=True))
    with tf.GradientTape() as tape:
        logits = ours({**our_inputs(rows), "mask_positions": rows["mask_positions"]}, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(rows["labels"], logits, from_logits=True)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [place.variable.value for place in places])
    arrays = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
    return loss, joined_parts(places, arrays)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_same(family: str, tmp_path: Path) -> None:
    """In float64, where rounding does not hide small ones."""
    theirs = their_model(family, "ForMaskedLM")
    theirs.save_pretrained(tmp_path)
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None, dtype="float64")
    rows = batch(family)
    loss, gradients = loss_and_gradients(family, ours, rows)
    theirs = theirs.double()
    expected = theirs(**their_inputs(rows), labels=their_labels(rows)).loss
    assert_close(loss, expected)
    expected.backward()
    parameters = dict(theirs.named_parameters(remove_duplicate=False))
    for name, gradient in gradients.items():
        parameter = parameters.get(name, parameters.get(family_named(family).huggingface.body + name))
        if name.endswith(("key.bias", "k_lin.bias")):
            # The same for all keys, so the softmax takes it out: zero but for rounding.
            assert max(np.abs(gradient).max(), parameter.grad.abs().max()) < 1e-12
        elif "position" in name:
            assert_close(gradient, parameter.grad[-LENGTH:])
        else:
            assert_close(gradient, parameter.grad)
    # The padding row and the one before it are theirs alone, and no loss reaches them.
    assert "roberta" not in family or not parameters["roberta.embeddings.position_embeddings.weight"].grad[:1].any()


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "relu and another epsilon": {"hidden_act": "relu", "layer_norm_eps": 1e-3},
    "gelu by tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "exact gelu": {"hidden_act": "gelu", "layer_norm_eps": 1e-5},
    "silu, three segments, two dropouts": {
        "hidden_act": "silu",
        "type_vocab_size": 3,
        "attention_probs_dropout_prob": 0.3,
    },
}


@pytest.mark.parametrize("changes", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_lm_of_theirs_computes_the_same_here(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = their_model(family, "ForMaskedLM", **changes)
    theirs.save_pretrained(tmp_path)
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    assert type(ours) is family_named(family).masked_lm
    assert ours.backbone.dropout == their_setting(theirs, family, "hidden_dropout_prob")
    assert_same_masked_lm(family, ours, theirs)


def assert_exported(family: str, kind: str, ours: Any, directory: Path) -> Any:
    """What transformers loads of `ours`, with every weight from the file."""
    save_huggingface(ours, directory)
    auto = {"ForMaskedLM": "AutoModelForMaskedLM", "ForSequenceClassification": "AutoModelForSequenceClassification"}
    theirs, report = getattr(transformers, auto[kind]).from_pretrained(directory, output_loading_info=True)
    assert type(theirs).__name__ == PREFIXES[family] + kind
    assert not report["missing_keys"] and not report["mismatched_keys"]
    # The class of a masked LM has no pooler, whatever one was trained: it is named, as that of bert-base-uncased is.
    assert all("pooler" in name for name in report["unexpected_keys"])
    assert not report["unexpected_keys"] or (kind == "ForMaskedLM" and ours.backbone.pooled_dense.bias.numpy().any())
    return theirs.eval()


@pytest.mark.filterwarnings("error:transformers will compute")
@pytest.mark.parametrize("changes", [{}, {"hidden_act": "relu", "layer_norm_eps": 1e-3}], ids=["usual", "relu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_lm_of_ours_computes_the_same_there(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    first = their_model(family, "ForMaskedLM", **changes)
    first.save_pretrained(tmp_path / "first")
    ours = MaskedLM.from_preset(str(tmp_path / "first"), preprocessor=None)
    for variable in ours.variables:
        if variable.dtype == "float32":
            variable.assign(variable + keras.random.normal(variable.shape, stddev=0.1, seed=3))
    theirs = assert_exported(family, "ForMaskedLM", ours, tmp_path / "second")
    assert_same_masked_lm(family, ours, theirs)
    for setting in ("hidden_act", "layer_norm_eps"):
        assert their_setting(theirs, family, setting) == their_setting(first, family, setting)


@pytest.mark.parametrize("kind", ["ForMaskedLM", "ForPreTraining", "ForSequenceClassification"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_in_a_checkpoint_is_saved_and_nothing_else(family: str, kind: str, tmp_path: Path) -> None:
    """Begun by transformers with biases of zero, so that only where a tensor came from tells whether it is one."""
    if kind == "ForPreTraining" and family not in WITH_PAIRS:
        pytest.skip("transformers has no such class, or it is no masked LM")
    theirs = their_model(family, kind)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "pooler" in name and name.endswith("bias"):
                parameter.zero_()
    theirs.save_pretrained(tmp_path / "theirs")
    tasks = {"ForSequenceClassification": TextClassifier}
    ours = tasks.get(kind, MaskedLM).from_preset(str(tmp_path / "theirs"), preprocessor=None)
    save_huggingface(ours, tmp_path / "ours")
    before, after = (load_file(tmp_path / place / "model.safetensors") for place in ("theirs", "ours"))
    # RoBERTa's segment is folded into its positions.
    assert set(after) == set(before)
    for name in after:
        if "roberta" not in family or "embeddings.p" not in name and "token_type" not in name:
            assert (after[name] == before[name]).all(), name
    cls = getattr(transformers, json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"][0])
    _, report = cls.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert cls is type(theirs)
    assert not report["missing_keys"] and not report["mismatched_keys"] and not report["unexpected_keys"]


def our_task(family: str, kind: str, **arguments: Any) -> Any:
    """A task of ours as KerasHub's defaults have it, with random weights."""
    keras.utils.set_random_seed(5)
    sizes = {"vocabulary_size": VOCABULARY_SIZE, "num_layers": 2, "num_heads": 4, "hidden_dim": 16}
    sizes |= {"intermediate_dim": 24, "max_sequence_length": LENGTH} | (
        {"embedding_dim": 8} if family in ("albert", "electra") else {}
    )
    members = family_named(family)
    task = getattr(members, kind)(members.backbone(**sizes), **arguments)
    for variable in task.variables:
        if variable.dtype == "float32":
            variable.assign(variable + keras.random.normal(variable.shape, stddev=0.2))
    return task


@pytest.mark.parametrize("family", ["roberta", "xlm_roberta", "modern_bert", "electra"])
@pytest.mark.filterwarnings("error:transformers will compute")
def test_our_default_is_wholly_expressible(family: str, tmp_path: Path) -> None:
    ours = our_task(family, "masked_lm")
    assert_same_masked_lm(family, ours, assert_exported(family, "ForMaskedLM", ours, tmp_path / "preset"))


@pytest.mark.parametrize(
    ("family", "largest"), [("bert", 1e-3), ("albert", 2e-4), ("distil_bert", 1e-3), ("deberta_v3", 1e-3)]
)
def test_our_default_head_is_named_as_different_and_differs_little(family: str, largest: float, tmp_path: Path) -> None:
    ours = our_task(family, "masked_lm")
    epsilon = ours.backbone.layer_norm_epsilon
    with pytest.warns(UserWarning, match=f"head_layer_norm_epsilon 1e-05 becomes {epsilon}"):
        theirs = assert_exported(family, "ForMaskedLM", ours, tmp_path / "preset")
    rows = batch(family)
    logits = theirs(**their_inputs(rows)).logits.detach().numpy()[0, rows["mask_positions"][0]]
    difference = np.abs(keras.ops.convert_to_numpy(ours.masked_logits(rows))[0] - logits).max() / np.abs(logits).max()
    print(f"{family}: logits differ by {difference:.1e} of the largest")
    assert 0 < difference < largest
    # Back here the head is what it was.
    again = MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert (np.asarray(again.masked_logits(rows)) == np.asarray(ours.masked_logits(rows))).all()
    # Trained further there, it is what transformers makes of it.
    theirs.save_pretrained(tmp_path / "preset")
    again = MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert again.head_settings()["head_layer_norm_epsilon"] == epsilon


def assert_same_classifier(family: str, ours: Any, theirs: Any) -> None:
    rows = batch(family)
    expected = theirs(**their_inputs(rows)).logits
    assert_close(ours(our_inputs(rows)), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_classifiers_compute_the_same_in_both_directions(family: str, tmp_path: Path) -> None:
    theirs = their_model(family, "ForSequenceClassification", num_labels=3, classifier_dropout=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = TextClassifier.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert type(ours) is family_named(family).text_classifier
    assert ours.num_classes == 3
    assert ours.dropout == (0.1 if family == "albert" else 0.2)
    assert_same_classifier(family, ours, theirs)
    own = our_task(family, "text_classifier", num_classes=2)
    assert_same_classifier(family, own, assert_exported(family, "ForSequenceClassification", own, tmp_path / "ours"))


@pytest.mark.parametrize("kind", ["Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_checkpoint_gives_its_backbone(family: str, kind: str, tmp_path: Path) -> None:
    if kind == "ForPreTraining" and family not in WITH_SEGMENTS:
        pytest.skip("transformers has no such class")
    theirs = their_model(family, kind, hidden_act="gelu_new")
    theirs.save_pretrained(tmp_path)
    rows = batch(family)
    if kind == "ForMaskedLM" and family in WITH_PAIRS:
        with pytest.warns(UserWarning, match="has no pooler"):
            backbone = Backbone.from_preset(str(tmp_path))
    else:
        backbone = Backbone.from_preset(str(tmp_path))
    expected = theirs.base_model(**their_inputs(rows))
    output = backbone(our_inputs(rows))
    if family not in WITH_SEGMENTS:
        assert_close(output, expected.last_hidden_state, rows["padding_mask"] > 0)
        return
    assert_close(output["sequence_output"], expected.last_hidden_state, rows["padding_mask"] > 0)
    if family not in WITH_PAIRS:
        return
    if kind != "ForMaskedLM":
        assert_close(output["pooled_output"], expected.pooler_output)
    if kind == "ForPreTraining":
        logits = theirs(**their_inputs(rows)).prediction_logits
        everywhere = {**our_inputs(rows), "mask_positions": np.tile(np.arange(LENGTH, dtype=np.int32), (3, 1))}
        task = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
        assert_close(task.masked_logits(everywhere), logits, rows["padding_mask"] > 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_and_shards_are_read(dtype: str, tmp_path: Path) -> None:
    theirs = their_model("roberta", "ForMaskedLM").to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    assert ours.dtype_policy.name == "float32"
    assert_same_masked_lm("roberta", ours, theirs.float())


def test_a_head_of_its_own_matrix_is_refused(tmp_path: Path) -> None:
    theirs = their_model("bert", "ForMaskedLM", tie_word_embeddings=False)
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must share its matrix with the token embedding"):
        MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    with torch.no_grad():
        theirs.cls.predictions.decoder.weight.copy_(theirs.bert.embeddings.word_embeddings.weight)
        theirs.cls.predictions.bias.copy_(theirs.cls.predictions.decoder.bias)
    theirs.save_pretrained(tmp_path)
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    rows = batch("bert")
    logits = theirs(**their_inputs(rows)).logits[0, rows["mask_positions"][0]]
    assert_close(ours.masked_logits(rows)[0], logits)


@pytest.mark.parametrize(
    ("family", "activation", "tolerance"),
    # gelu_new is KerasHub's BERT body, but not its head; RoBERTa's settings are KerasHub's all over.
    [
        ("bert", "gelu", 1e-3),
        ("bert", "gelu_new", 1e-3),
        ("albert", "gelu_new", 2e-4),
        ("roberta", "gelu", 1e-5),
        ("distil_bert", "gelu", 1e-3),
    ],
)
def test_a_checkpoint_of_theirs_goes_to_keras_hub(
    family: str, activation: str, tolerance: float, tmp_path: Path
) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    epsilon = 1e-5 if family == "roberta" else 1e-12
    theirs = their_model(family, "ForMaskedLM", hidden_act=activation, layer_norm_eps=epsilon)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = MaskedLM.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    notes = keras_hub_differences(ours, ours.backbone)
    assert bool(notes) == (family != "roberta")
    ours.save_to_preset(str(tmp_path / "preset"))
    hub = keras_hub.models.MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    rows = batch(family)
    logits = theirs(**their_inputs(rows)).logits.detach().numpy()
    expected = np.take_along_axis(logits, rows["mask_positions"][..., None], axis=1)
    found = keras.ops.convert_to_numpy(hub({**our_inputs(rows), "mask_positions": rows["mask_positions"]}))
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"{family} {activation}: KerasHub's logits differ by {difference:.1e} of the largest")
    assert difference < tolerance
