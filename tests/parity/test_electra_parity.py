"""ELECTRA against KerasHub, which has its backbone and its tokenizer, and transformers' ElectraModel in more shapes.

Needs the extra `parity`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
from side_by_side import assert_close

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
keras_hub = pytest.importorskip("keras_hub")

from clozekit.model import Backbone, ElectraBackbone, MaskedLM, ReplacedTokenDetector, TextClassifier  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface, save_huggingface_backbone  # noqa: E402
from clozekit.model.training.architecture import architecture_of  # noqa: E402
from clozekit.model.training.begin_from import begin_from_halves  # noqa: E402
from clozekit.model.training.build_task import build_task  # noqa: E402
from clozekit.model.training.settings.replaced_settings import ReplacedSettings  # noqa: E402
from clozekit.model.training.settings.run_settings import RunSettings  # noqa: E402

SIZES = {"vocab_size": 45, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
SIZES |= {"num_hidden_layers": 2, "max_position_embeddings": 32}
CONFIGS: list[dict[str, Any]] = [
    {"embedding_size": 8},
    {"embedding_size": 16},
    {"embedding_size": 24, "hidden_act": "relu", "layer_norm_eps": 1e-5},
    {"embedding_size": 8, "hidden_act": "gelu_new", "type_vocab_size": 4, "num_attention_heads": 4},
    {"embedding_size": 16, "vocab_size": 64, "type_vocab_size": 1, "hidden_act": "silu"},
    {"embedding_size": 8, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.3},
]


def their_model(kind: str, changes: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = transformers.ElectraConfig(**{**SIZES, **changes})
    model = getattr(transformers, f"Electra{kind}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def batch_of(changes: dict[str, Any]) -> dict[str, np.ndarray]:
    rows = families.batch("electra")
    rows["token_ids"] = np.random.default_rng(0).integers(5, changes.get("vocab_size", 45), (3, 12)).astype(np.int32)
    if changes.get("type_vocab_size") == 1:
        rows["segment_ids"] = np.zeros_like(rows["segment_ids"])
    return rows


def their_inputs(rows: dict[str, np.ndarray]) -> dict[str, Any]:
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    return {theirs: torch.tensor(rows[ours].astype(np.int64)) for ours, theirs in names.items()}


@pytest.mark.parametrize("changes", CONFIGS, ids=range(len(CONFIGS)))
@pytest.mark.parametrize("kind", ["Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification"])
def test_a_checkpoint_of_transformers_goes_there_and_back(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs, rows = their_model(kind, changes), batch_of(changes)
    theirs.save_pretrained(tmp_path / "theirs")
    expected, real = theirs(**their_inputs(rows))[0], rows["padding_mask"] > 0
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    source = str(tmp_path / "theirs")
    if kind == "Model":
        ours = Backbone.from_preset(source)
        assert_close(ours(inputs)["sequence_output"], expected, real)
        save_huggingface_backbone(ours, tmp_path / "ours")
    elif kind == "ForMaskedLM":
        ours = MaskedLM.from_preset(source, preprocessor=None)
        everywhere = np.tile(np.arange(12, dtype=np.int32), (3, 1))
        assert_close(ours.masked_logits({**rows, "mask_positions": everywhere}), expected, real)
        save_huggingface(ours, tmp_path / "ours")
    elif kind == "ForPreTraining":
        ours = ReplacedTokenDetector.from_preset(source, preprocessor=None)
        assert_close(ours(inputs), expected, real)
        packed = {**inputs, "document_ids": rows["padding_mask"]}
        assert_close(ours(packed), expected, real)
        save_huggingface(ours, tmp_path / "ours")
    else:
        ours = TextClassifier.from_preset(source, preprocessor=None)
        assert ours.dropout == pytest.approx(changes.get("classifier_dropout", changes.get("hidden_dropout_prob", 0.1)))
        assert_close(ours(inputs), expected)
        save_huggingface(ours, tmp_path / "ours")
    again, report = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"] and not report["unexpected_keys"], report
    assert torch.equal(again.eval()(**their_inputs(rows))[0], expected)
    kept = ("hidden_act", "layer_norm_eps", "embedding_size", "type_vocab_size", "attention_probs_dropout_prob")
    for name in kept:
        assert getattr(again.config, name) == getattr(theirs.config, name)


@pytest.mark.parametrize("generator_hidden_dim", [8, 12])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_discriminator_and_its_generator_are_two_models_there(
    activation: str, generator_hidden_dim: int, tmp_path: Path
) -> None:
    sizes = {"num_generator_layers": 2, "num_generator_heads": 2, "generator_intermediate_dim": 20}
    sizes["generator_hidden_dim"] = generator_hidden_dim
    preprocessor = families.masked_lm_preprocessor("electra")
    ours = families.masked_lm("electra", preprocessor, {"activation": activation}, **sizes)
    families.randomize(ours, seed=4)
    save_huggingface(ours, tmp_path / "both")
    discriminator = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "both").eval()
    generator, report = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "both", subfolder="generator", output_loading_info=True
    )
    assert (type(discriminator).__name__, type(generator).__name__) == ("ElectraForPreTraining", "ElectraForMaskedLM")
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    rows = families.batch("electra")
    real = rows["padding_mask"] > 0
    assert_close(ours.detection_logits(rows), discriminator(**their_inputs(rows)).logits, real)
    everywhere = {**rows, "mask_positions": np.tile(np.arange(12, dtype=np.int32), (3, 1))}
    assert_close(ours.masked_logits(everywhere), generator.eval()(**their_inputs(rows)).logits, real)
    tokenizers = [
        transformers.AutoTokenizer.from_pretrained(tmp_path / "both"),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "both", subfolder="generator"),
    ]
    assert tokenizers[0]("the dog")["input_ids"] == tokenizers[1]("the dog")["input_ids"]
    # And back: each of them alone.
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    detector = ReplacedTokenDetector.from_preset(str(tmp_path / "both"))
    assert np.array_equal(detector(inputs), ours.detection_logits(rows))
    alone = MaskedLM.from_preset(str(tmp_path / "both" / "generator"))
    assert np.array_equal(alone.masked_logits(rows), ours.masked_logits(rows))


PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"embedding_size": 8}, {"hidden_size": 12, "num_hidden_layers": 3}),
    ({"embedding_size": 16}, {"hidden_size": 16, "num_attention_heads": 4}),
    ({"embedding_size": 24, "hidden_act": "relu", "layer_norm_eps": 1e-5}, {"hidden_size": 8, "intermediate_size": 20}),
    ({"embedding_size": 8, "hidden_act": "gelu_new", "type_vocab_size": 4}, {"hidden_size": 8, "num_hidden_layers": 1}),
]


@pytest.mark.parametrize(("changes", "of_generator"), PAIRS, ids=range(len(PAIRS)))
@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "apart"])
def test_a_discriminator_and_a_generator_of_transformers_are_gone_on_with(
    is_shared: bool, changes: dict[str, Any], of_generator: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = families.tokenizer("electra")
    changes = {**changes, "vocab_size": tokenizer.vocabulary_size()}
    discriminator = their_model("ForPreTraining", changes)
    generator = their_model("ForMaskedLM", {**changes, **of_generator})
    embeddings = discriminator.electra.embeddings.state_dict()
    if is_shared:
        generator.electra.embeddings.load_state_dict(embeddings)
    for name, model in (("discriminator", discriminator), ("generator", generator)):
        model.save_pretrained(tmp_path / name)
        (tmp_path / name / "vocab.txt").write_text("\n".join(tokenizer.get_vocabulary()), encoding="utf-8")
    places = [str(tmp_path / name) for name in ("discriminator", "generator")]
    config = RunSettings("d", str(tmp_path / "run"), init_from=places[0], objective="replaced")
    config = dataclasses.replace(config, replaced=ReplacedSettings(generator=places[1]))
    architecture = architecture_of(config, tokenizer, longest_row=12)
    ours = build_task(config, architecture)
    told = begin_from_halves(ours, *places)
    assert (told is None) == is_shared
    # What transformers computes once both share the discriminator's embeddings, as the run has them.
    generator.electra.embeddings.load_state_dict(embeddings)
    rows = batch_of(changes)
    real = rows["padding_mask"] > 0
    everywhere = {**rows, "mask_positions": np.tile(np.arange(12, dtype=np.int32), (3, 1))}
    expected = [model(**their_inputs(rows)).logits.detach().numpy() for model in (discriminator, generator)]
    logits = np.asarray(ours.masked_logits(everywhere))[..., : tokenizer.vocabulary_size()]
    for found, wanted in zip((np.asarray(ours.detection_logits(rows)), logits), expected, strict=True):
        assert np.abs(found - wanted)[real].max() <= 1e-5 * np.abs(wanted[real]).max()


@pytest.mark.parametrize("embedding_dim", [8, 16])
def test_keras_hub_takes_the_backbone_and_gives_its_own(embedding_dim: int, tmp_path: Path) -> None:
    ours = families.backbone("electra", embedding_dim=embedding_dim)
    rows = {name: value for name, value in families.batch("electra").items() if name != "mask_positions"}
    task = families.masked_lm("electra", families.masked_lm_preprocessor("electra"))
    for part, place in ((ours, "backbone"), (task, "task")):
        part.save_to_preset(str(tmp_path / place))
        theirs = keras_hub.models.Backbone.from_preset(str(tmp_path / place))
        assert type(theirs).__name__ == "ElectraBackbone"
        expected = (part if part is ours else part.backbone)(rows)
        for name, value in theirs(rows).items():
            assert np.abs(np.asarray(value) - np.asarray(expected[name])).max() <= 1e-5
    text = "the quick dog"
    tokenizer = keras_hub.tokenizers.ElectraTokenizer.from_preset(str(tmp_path / "task"))
    assert np.asarray(tokenizer(text)).tolist() == families.tokenizer("electra").tokenize(text).tolist()

    own = keras_hub.models.ElectraBackbone(
        vocab_size=families.tokenizer("electra").vocabulary_size(),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        embedding_dim=embedding_dim,
        intermediate_dim=24,
    )
    families.randomize(own)
    own.save_to_preset(str(tmp_path / "theirs"))
    here = Backbone.from_preset(str(tmp_path / "theirs"))
    assert isinstance(here, ElectraBackbone)
    expected = own(rows)
    for name, value in here(rows).items():
        assert np.abs(np.asarray(value) - np.asarray(expected[name])).max() <= 1e-5


def test_the_tokenizer_is_that_of_transformers(tmp_path: Path) -> None:
    save_huggingface(families.masked_lm("electra", families.masked_lm_preprocessor("electra")), tmp_path / "preset")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "preset")
    ours = MaskedLM.from_preset(str(tmp_path / "preset")).preprocessor.tokenizer
    assert type(ours).__name__ == "ElectraTokenizer"
    for text in (*families.TEXTS, "The QUICK homework, dogs?"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.tokenize(text).tolist()
