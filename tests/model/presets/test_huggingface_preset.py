"""Presets in Hugging Face's layout: there and back bit by bit, every kind of checkpoint, and what is refused.

(`tests/parity/test_huggingface_parity.py` compares with transformers itself.)
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as small
from safetensors.numpy import load_file, save_file

from clozekit.model import Backbone, MaskedLM, TextClassifier
from clozekit.model.families.grow_vocabulary import with_added_tokens
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.tokenizers.common.errors import InputError

Arrays = dict[str, np.ndarray]
# What Hugging Face's heads are: the settings of the body.
EXPRESSIBLE: dict[str, dict[str, Any]] = {
    "bert": {"head_activation": "gelu_approximate", "head_layer_norm_epsilon": 1e-12},
    "roberta": {},
    "albert": {"head_layer_norm_epsilon": 1e-12},
    "xlm_roberta": {},
    "distil_bert": {"head_layer_norm_epsilon": 1e-12},
    "modern_bert": {},
    "electra": {},
    "deberta_v3": {"head_layer_norm_epsilon": 1e-7},
}


def same_weights(a: Any, b: Any) -> bool:
    """Bit by bit: 0.0 is not -0.0."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(small.kept_weights(a), small.kept_weights(b), strict=True))


def saved(tmp_path: Path, name: str = "bert", **options: Any) -> tuple[Any, Path]:
    task = small.masked_lm(name, small.masked_lm_preprocessor(name), **EXPRESSIBLE[name], **options)
    save_huggingface(task, tmp_path / "preset")
    return task, tmp_path / "preset"


def change_config(preset: Path, **changes: Any) -> None:
    config = json.loads((preset / "config.json").read_text(encoding="utf-8"))
    config = {key: value for key, value in {**config, **changes}.items() if value is not ...}
    (preset / "config.json").write_text(json.dumps(config), encoding="utf-8")


def change_arrays(preset: Path, change: Callable[[Arrays], Arrays]) -> None:
    arrays = load_file(preset / "model.safetensors")
    save_file(change(arrays), preset / "model.safetensors", metadata={"format": "pt"})


def load(preset: Path) -> Any:
    return MaskedLM.from_preset(str(preset))


@pytest.mark.parametrize("name", small.NAMES)
def test_a_masked_lm_comes_back_bit_by_bit(name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    changes = {"dropout": 0.1, "attention_dropout": 0.2, **small.GROUPS.get(name, {})}
    task, preset = saved(tmp_path, name, backbone_changes=changes)
    has_table = task.backbone.has_position_table
    table = (
        task.backbone.position_embedding.position_embeddings if has_table else task.backbone.token_embedding.embeddings
    )
    table.assign(np.where(np.arange(table.shape[1]) % 3 == 0, np.float32(-0.0), table))
    save_huggingface(task, preset)
    loaded = load(preset)
    assert type(loaded) is type(task)
    assert same_weights(loaded, task)
    assert loaded.backbone.settings() == task.backbone.settings()
    assert loaded.head_settings() == task.head_settings()
    assert loaded.preprocessor.get_config() == task.preprocessor.get_config()
    assert loaded.preprocessor.tokenizer.sha256() == task.preprocessor.tokenizer.sha256()
    assert [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)] == []
    # The files depend on the task alone.
    files = {path.name: path.read_bytes() for path in preset.iterdir()}
    save_huggingface(loaded, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files


@pytest.mark.parametrize("name", small.NAMES)
def test_a_classifier_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    task = small.text_classifier(name, small.text_classifier_preprocessor(name), num_classes=4, dropout=0.3)
    save_huggingface(task, tmp_path)
    loaded = TextClassifier.from_preset(str(tmp_path))
    assert type(loaded) is type(task)
    assert same_weights(loaded, task)
    assert (loaded.num_classes, loaded.dropout) == (4, 0.3)
    assert loaded.preprocessor.get_config() == task.preprocessor.get_config()
    # Another number of classes is a fresh head on the same backbone.
    other = TextClassifier.from_preset(str(tmp_path), num_classes=2)
    assert other.num_classes == 2 and same_weights(other.backbone, task.backbone)
    with pytest.warns(UserWarning, match="has no masked-LM head"):
        assert same_weights(load(tmp_path).backbone, task.backbone)


def test_a_head_that_hugging_face_has_not_is_named_and_comes_back(tmp_path: Path) -> None:
    task = small.masked_lm("bert", small.masked_lm_preprocessor("bert"))
    with pytest.warns(UserWarning) as caught:
        save_huggingface(task, tmp_path)
    assert [str(warning.message) for warning in caught if warning.category is UserWarning] == [
        "transformers will compute this BertMaskedLM a little otherwise: head_activation gelu becomes gelu_approximate,"
        " head_layer_norm_epsilon 1e-05 becomes 1e-12"
    ]
    assert load(tmp_path).head_settings() == task.head_settings()
    # Weights that another library wrote belong to the head that config.json tells of.
    change_arrays(tmp_path, lambda arrays: arrays)
    assert load(tmp_path).head_settings() == EXPRESSIBLE["bert"]
    softmax = small.text_classifier("bert", activation="softmax")
    with pytest.warns(UserWarning, match="activation softmax becomes linear"):
        save_huggingface(softmax, tmp_path)


def without_prefix(arrays: Arrays) -> Arrays:
    return {name.removeprefix("bert."): array for name, array in arrays.items()}


def legacy_norms(arrays: Arrays) -> Arrays:
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, array in arrays.items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = array
    return renamed


def decoder_bias(arrays: Arrays) -> Arrays:
    bias = arrays.pop("cls.predictions.bias")
    decoder = arrays["bert.embeddings.word_embeddings.weight"]
    return {**arrays, "cls.predictions.decoder.bias": bias, "cls.predictions.decoder.weight": decoder}


def pretraining(arrays: Arrays) -> Arrays:
    pairs = {
        "cls.seq_relationship.weight": np.ones((2, 16), np.float32),
        "cls.seq_relationship.bias": np.ones(2, np.float32),
    }
    return {**arrays, **pairs, "bert.embeddings.position_ids": np.arange(3)}


@pytest.mark.parametrize(
    ("change", "architecture"),
    [
        (without_prefix, ["BertForMaskedLM"]),
        (legacy_norms, ["BertForMaskedLM"]),
        (decoder_bias, ["BertForMaskedLM"]),
        (pretraining, ["BertForPreTraining"]),
        (pretraining, None),
    ],
)
def test_every_way_to_name_the_tensors_is_read(
    change: Callable[[Arrays], Arrays], architecture: list[str] | None, tmp_path: Path
) -> None:
    task, preset = saved(tmp_path)
    change_arrays(preset, change)
    change_config(preset, architectures=architecture)
    if change is not pretraining:
        assert same_weights(load(preset), task)
        return
    # With the head of pairs behind all else; a masked LM that still holds one has none.
    *found, kernel, bias = load(preset).get_weights()
    assert all(x.tobytes() == y.tobytes() for x, y in zip(found, task.get_weights(), strict=True))
    assert (kernel == 1).all() and (bias == 1).all()
    change_config(preset, architectures=["BertForMaskedLM"])
    assert same_weights(load(preset), task)


def test_shards_and_half_precision_are_read(tmp_path: Path) -> None:
    task, preset = saved(tmp_path)
    arrays = load_file(preset / "model.safetensors")
    (preset / "model.safetensors").unlink()
    names = sorted(arrays)
    shards = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, part in shards.items():
        save_file({name: arrays[name].astype(np.float16) for name in part}, preset / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    index = preset / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    expected = [array.astype(np.float16).astype(np.float32) for array in task.get_weights()]
    loaded = load(preset)
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), expected, strict=True))
    (preset / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="must hold model-00002-of-00002.safetensors"):
        load(preset)
    index.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="model.safetensors.index.json must"):
        load(preset)


def test_roberta_folds_its_one_segment_into_the_positions(tmp_path: Path) -> None:
    task, preset = saved(tmp_path, "roberta")
    first = np.linspace(-1, 1, 16, dtype=np.float32)
    name = "roberta.embeddings.token_type_embeddings.weight"
    change_arrays(preset, lambda arrays: {**arrays, name: np.stack([first, 9 * first])})
    change_config(preset, type_vocab_size=2)
    table = np.asarray(load(preset).backbone.position_embedding.position_embeddings)
    np.testing.assert_array_equal(table, np.asarray(task.backbone.position_embedding.position_embeddings) + first)


def test_a_missing_pooler_is_named_where_it_matters(tmp_path: Path) -> None:
    task, preset = saved(tmp_path)
    change_arrays(preset, lambda arrays: {name: array for name, array in arrays.items() if "pooler" not in name})
    loaded = load(preset)
    np.testing.assert_array_equal(loaded.masked_logits(small.batch("bert")), task.masked_logits(small.batch("bert")))
    with pytest.warns(UserWarning, match="has no pooler; pooled_output of this BertBackbone is random"):
        Backbone.from_preset(str(preset))
    with pytest.warns(UserWarning, match="has no pooler"):
        TextClassifier.from_preset(str(preset), num_classes=2)


def poolers(preset: Path) -> list[str]:
    return sorted(name for name in load_file(preset / "model.safetensors") if "pooler" in name)


def fresh_pooler(task: Any) -> None:
    """As a masked LM that was trained from nothing has it."""
    task.backbone.pooled_dense.bias.assign(np.zeros(16, np.float32))


@pytest.mark.parametrize("name", small.WITH_PAIRS)
def test_a_pooler_that_was_never_trained_is_left_out(name: str, tmp_path: Path) -> None:
    task = small.masked_lm(name, small.masked_lm_preprocessor(name), **EXPRESSIBLE[name])
    fresh_pooler(task)
    task.save_to_preset(str(tmp_path / "keras"))
    assert not (tmp_path / "keras" / "clozekit.json").is_file() or "pooler" not in read(tmp_path / "keras")
    save_huggingface(task, tmp_path / "first")
    save_huggingface(load(tmp_path / "keras"), tmp_path / "second")
    # A pooler that is not there is not there after another turn either, whatever random one stands in for it meanwhile.
    save_huggingface(load(tmp_path / "first"), tmp_path / "third")
    written = [(tmp_path / one / "model.safetensors").read_bytes() for one in ("first", "second", "third")]
    assert poolers(tmp_path / "first") == [] and written[0] == written[1] == written[2]
    # What a classifier trains is handed over, by its masked LM too.
    task.backbone.pooled_dense.bias.assign(np.full(16, 0.5, np.float32))
    save_huggingface(task, tmp_path / "trained")
    assert len(poolers(tmp_path / "trained")) == 2


def read(preset: Path) -> str:
    return (preset / "clozekit.json").read_text(encoding="utf-8")


def test_a_pooler_that_a_checkpoint_brought_stays_though_it_looks_fresh(tmp_path: Path) -> None:
    task, preset = saved(tmp_path)
    bias = "bert.pooler.dense.bias"
    change_arrays(preset, lambda arrays: {**arrays, bias: np.zeros_like(arrays[bias])})
    kernel = load_file(preset / "model.safetensors")["bert.pooler.dense.weight"]
    load(preset).save_to_preset(str(tmp_path / "keras"))
    grown = with_added_tokens(load(tmp_path / "keras"), ["foxtrot"])
    for name, given in {"direct": load(preset), "by keras": load(tmp_path / "keras"), "grown": grown}.items():
        save_huggingface(given, tmp_path / name)
        kept = load_file(tmp_path / name / "model.safetensors")
        np.testing.assert_array_equal(kept["bert.pooler.dense.weight"], kernel, err_msg=name)
        assert not kept[bias].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "gpt2"},
            "must be one of bert, distilbert, roberta, albert, xlm-roberta, .*config.json says 'gpt2'",
        ),
        ({"hidden_act": "mish"}, "hidden_act must be one of gelu, .*config.json says 'mish'"),
        ({"position_embedding_type": "relative_key"}, "says position_embedding_type 'relative_key'"),
        ({"is_decoder": True, "add_cross_attention": True}, "says is_decoder, add_cross_attention"),
        ({"quantization_config": {"bits": 4}}, "says quantization_config"),
        ({"embedding_size": 8}, "says embedding_size"),
        ({"vocab_size": ...}, "vocab_size must be a whole number, .*config.json says None"),
        ({"hidden_size": "16"}, "hidden_size must be a whole number, .*says '16'"),
        ({"num_attention_heads": 5}, "multiple of num_heads"),
        ({"vocab_size": 99}, r"word_embeddings.weight in model.safetensors must be floats of shape \(99, 16\)"),
        ({"max_position_embeddings": 64}, r"position_embeddings.weight .* must be floats of shape \(64, 16\)"),
        ({"num_hidden_layers": 2}, r"model.safetensors must hold bert.encoder.layer.1.attention.self.query.weight"),
        ({"tie_word_embeddings": False}, "must hold cls.predictions.decoder.weight"),
    ],
)
def test_settings_of_hugging_face_that_ours_lacks_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _, preset = saved(tmp_path)
    change_config(preset, **changes)
    with pytest.raises(InputError, match=message):
        load(preset)


def test_a_table_of_no_segments_is_refused(tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    save_huggingface(small.masked_lm("roberta"), preset)
    change_config(preset, type_vocab_size=0)
    with pytest.raises(InputError, match="type_vocab_size must be at least 1, .*config.json says 0"):
        MaskedLM.from_preset(str(preset), preprocessor=None)


def test_settings_are_honoured(tmp_path: Path) -> None:
    _, preset = saved(tmp_path)
    changes = {"hidden_act": "silu", "layer_norm_eps": 1e-3, "hidden_dropout_prob": 0.4}
    change_config(preset, **changes, attention_probs_dropout_prob=0.2)
    loaded = load(preset)
    settings = loaded.backbone.settings()
    assert [settings[name] for name in ("activation", "layer_norm_epsilon", "dropout", "attention_dropout")] == [
        "silu", 1e-3, 0.4, 0.2,
    ]  # fmt: skip
    assert loaded.head_settings() == {"head_activation": "silu", "head_layer_norm_epsilon": 1e-3}
    (preset / "clozekit.json").unlink()
    for length, expected in ((20, 20), (1e30, 32), (512, 32)):
        tokenizer_config = json.loads((preset / "tokenizer_config.json").read_text(encoding="utf-8"))
        tokenizer_config["model_max_length"] = length
        (preset / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), encoding="utf-8")
        assert load(preset).preprocessor.sequence_length == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "ranking"}, "says problem_type 'ranking'"),
        ({"problem_type": None, "id2label": {"0": "score"}}, "must be floats of"),
    ],
)
def test_classifiers_of_unknown_problems_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_huggingface(small.text_classifier("bert"), tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        TextClassifier.from_preset(str(tmp_path), preprocessor=None)
    assert TextClassifier.from_preset(str(tmp_path), preprocessor=None, num_classes=5).num_classes == 5


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("multi_label_classification", "multi_label"), ("regression", "regression"), (None, "single_label")],
)
def test_what_a_classifier_is_for_stands_in_its_problem_type(theirs: str | None, ours: str, tmp_path: Path) -> None:
    save_huggingface(small.text_classifier("bert"), tmp_path)
    change_config(tmp_path, problem_type=theirs)
    assert TextClassifier.from_preset(str(tmp_path), preprocessor=None).problem == ours


def test_a_head_with_a_matrix_of_its_own_is_refused(tmp_path: Path) -> None:
    task, preset = saved(tmp_path)
    change_config(preset, tie_word_embeddings=False)
    change_arrays(preset, decoder_bias)
    assert same_weights(load(preset), task)
    name = "cls.predictions.decoder.weight"
    change_arrays(preset, lambda arrays: {**arrays, name: arrays[name] + 1})
    with pytest.raises(InputError, match="must share its matrix .*; its body loads alone, by Backbone") as caught:
        load(preset)
    assert "\n" not in str(caught.value)
    assert same_weights(Backbone.from_preset(str(preset)), task.backbone)
    TextClassifier.from_preset(str(preset), num_classes=2, preprocessor=None)


def test_damaged_and_missing_weights_are_named(tmp_path: Path) -> None:
    _, preset = saved(tmp_path)
    path = preset / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 5, 300, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"model.safetensors must be a whole safetensors file, it is damaged"):
            load(preset)
    path.write_bytes(whole)
    change_arrays(preset, lambda arrays: {**arrays, "cls.predictions.bias": np.zeros(3, np.int64)})
    with pytest.raises(InputError, match=r"cls.predictions.bias in .* it is I64 of shape \(3,\)"):
        load(preset)
    path.unlink()
    with pytest.raises(InputError, match="must hold model.safetensors .*copy it again"):
        load(preset)
    for name, how in {"flax_model.msgpack": "from_flax=True", "tf_model.h5": "from_tf=True"}.items():
        (preset / name).write_bytes(b"")
        with pytest.raises(InputError, match=rf"it has {name} alone, .*transformers 4.*, {how}\).save_pretrained"):
            load(preset)
    (preset / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(
        InputError, match=r"it has pytorch_model.bin alone, a pickle.*import BertForMaskedLM as M;.*save_pretrained\("
    ):
        load(preset)
    assert MaskedLM.from_preset(str(preset), load_weights=False).backbone.num_layers == 1


def test_a_model_that_hugging_face_cannot_hold_leaves_no_files(tmp_path: Path) -> None:
    wide = small.text_classifier("roberta", hidden_dim=8)
    with pytest.raises(InputError, match="hidden_dim must be the backbone's 16"):
        save_huggingface(wide, tmp_path / "preset")
    # A merge whose parts are no pieces, which Hugging Face's library can't have.
    tokenizer = small.clozekit.model.RobertaTokenizer(
        {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5}, ["a b"]
    )
    backbone = small.backbone("roberta", vocabulary_size=6)
    preprocessor = small.family("roberta").masked_lm_preprocessor(tokenizer, sequence_length=8)
    with pytest.raises(InputError, match="the vocabulary lacks 'b' of the merge 'a' 'b'"):
        save_huggingface(small.family("roberta").masked_lm(backbone, preprocessor), tmp_path / "preset")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="holds what Clozekit did not write there"):
        save_huggingface(small.text_classifier("bert"), tmp_path)


def test_presets_go_to_object_stores_and_back() -> None:
    task = small.masked_lm("xlm_roberta", small.masked_lm_preprocessor("xlm_roberta"))
    save_huggingface(task, "memory://bucket/huggingface/xlm-roberta")
    assert same_weights(MaskedLM.from_preset("memory://bucket/huggingface/xlm-roberta"), task)
