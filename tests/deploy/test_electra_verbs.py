"""What every verb makes of a generator with its discriminator, and of a discriminator alone: it works, or one line says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
import tensorflow as tf

from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import convert
from clozekit.deploy.publish.publish_preset import publish
from clozekit.deploy.publish.publish_settings import PublishSettings
from clozekit.model import MaskedLM, ReplacedTokenDetector, TokenClassifier
from clozekit.model.families.grow_vocabulary import with_added_tokens
from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.presets.finetuned_preset import load_finetuned
from clozekit.model.presets.mean_of_presets import mean_of_presets
from clozekit.tokenizers.common.errors import InputError

pytestmark = pytest.mark.slow
SIZES = {
    "num_generator_layers": 1,
    "num_generator_heads": 1,
    "generator_hidden_dim": 4,
    "generator_intermediate_dim": 6,
}


def same_weights(a: Any, b: Any) -> bool:
    return all((x == y).all() for x, y in zip(families.kept_weights(a), families.kept_weights(b), strict=True))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A task with a generator, and its preset."""
    task = families.masked_lm("electra", families.masked_lm_preprocessor("electra"), **SIZES)
    families.randomize(task, seed=3)
    directory = str(tmp_path_factory.mktemp("both") / "preset")
    task.save_to_preset(directory)
    return task, directory


def test_a_preset_keeps_both_and_gives_the_discriminator_to_other_heads(both: tuple[Any, str]) -> None:
    task, preset = both
    again = MaskedLM.from_preset(preset)
    assert same_weights(again, task) and again.head_settings() == task.head_settings()
    tagger = TokenClassifier.from_preset(preset, num_classes=2)
    assert same_weights(tagger.backbone, task.backbone)
    assert main(["fill", preset, "the [MASK]"]) == 0
    before = [np.array(variable) for variable in task.detection_variables()]
    task.compile(run_eagerly=True)
    task.fit(families.TEXTS, batch_size=2, verbose=0)
    assert all((old == np.array(new)).all() for old, new in zip(before, task.detection_variables(), strict=True))


def test_it_is_two_models_at_hugging_face_and_one_line_elsewhere(both: tuple[Any, str], tmp_path: Path) -> None:
    _, preset = both
    target = str(tmp_path / "huggingface")
    converted = convert(preset, target, "huggingface")
    assert f'AutoModelForPreTraining.from_pretrained("{target}")' in converted.load_with
    assert 'subfolder="generator"' in converted.load_with and converted.notes == []
    for to in ("onnx", "saved_model", "litert"):
        with pytest.raises(InputError, match="a generator and its discriminator are two models"):
            convert(preset, str(tmp_path / to), to)
    (note,) = convert(preset, str(tmp_path / "hub"), "keras_hub").notes
    assert note == "KerasHub loads the backbone and the tokenizer of this ElectraMaskedLM, not its head"
    # And the other way: the discriminator of transformers' files.
    detector = ReplacedTokenDetector.from_preset(target)
    convert(target, str(tmp_path / "own"), "clozekit")
    assert same_weights(ReplacedTokenDetector.from_preset(str(tmp_path / "own")), detector)
    with pytest.raises(InputError, match="must hold a masked-LM head"):
        main_error(["fill", target, "the [MASK]"])
    for source in (target, str(tmp_path / "own")):
        with pytest.raises(InputError, match="says which tokens were replaced, and nothing of a text"):
            load_finetuned(source)


def main_error(arguments: list[str]) -> None:
    from clozekit.model.presets.trained_masked_lm import load_masked_lm

    load_masked_lm(arguments[1])


def test_a_discriminator_runs_in_a_saved_model(both: tuple[Any, str], tmp_path: Path) -> None:
    task, preset = both
    convert(preset, str(tmp_path / "huggingface"), "huggingface")
    convert(str(tmp_path / "huggingface"), str(tmp_path / "saved"), "saved_model")
    rows = {name: value for name, value in families.batch("electra").items() if name != "mask_positions"}
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    served = serve(**{name: tf.constant(value) for name, value in rows.items()})
    expected = ReplacedTokenDetector.from_preset(str(tmp_path / "huggingface"))(rows)
    np.testing.assert_allclose(served["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(served["scores"], tf.sigmoid(expected), rtol=1e-4, atol=1e-5)


def test_a_card_says_what_each_is_and_how_it_is_loaded(both: tuple[Any, str]) -> None:
    _, preset = both
    card = publish(PublishSettings(preset, "hf://me/electra", "huggingface"), dry_run=True).card
    assert 'transformers.AutoModelForPreTraining.from_pretrained("me/electra")' in card
    assert "A replaced-token discriminator: " in card
    card = publish(PublishSettings(preset, "hf://me/electra", "keras_hub"), dry_run=True).card
    assert "KerasHub loads the backbone of this model, and its tokenizer." in card


def test_its_vocabulary_is_filled_up_and_grows(both: tuple[Any, str]) -> None:
    task, preset = both
    task, rows = MaskedLM.from_preset(preset), families.batch("electra")
    size = task.backbone.vocabulary_size
    larger = with_vocabulary(task, size + 7)
    assert np.allclose(larger.masked_logits(rows)[:, :, :size], task.masked_logits(rows), atol=1e-5)
    assert np.allclose(larger.detection_logits(rows), task.detection_logits(rows), atol=1e-5)
    grown = with_added_tokens(task, ["foxtrot"])
    assert grown.backbone.vocabulary_size == size + 1
    assert np.allclose(grown.detection_logits(rows), task.detection_logits(rows), atol=1e-5)


def test_a_discriminator_of_a_family_without_a_class_there_keeps_its_head_for_clozekit(tmp_path: Path) -> None:
    detector = ReplacedTokenDetector(families.backbone("bert"), families.text_classifier_preprocessor("bert"))
    families.randomize(detector.detection_head)
    detector.save_to_preset(str(tmp_path / "own"))
    assert same_weights(ReplacedTokenDetector.from_preset(str(tmp_path / "own")), detector)
    converted = convert(str(tmp_path / "own"), str(tmp_path / "there"), "huggingface")
    (note,) = converted.notes
    assert note.startswith(
        "transformers has no discriminator of the family bert: it loads the body, and passes over the head"
    )
    assert converted.load_with == f'transformers.AutoModel.from_pretrained("{tmp_path}/there")'
    assert same_weights(ReplacedTokenDetector.from_preset(str(tmp_path / "there")), detector)
    card = publish(PublishSettings(str(tmp_path / "there"), "hf://me/bert", "huggingface"), dry_run=True).card
    assert 'transformers.AutoModel.from_pretrained("me/bert")' in card


@pytest.mark.parametrize("family", ["bert", "deberta_v3"])
def test_verbs_take_both_halves_of_another_family(family: str, tmp_path: Path) -> None:
    preprocessor, rows = families.masked_lm_preprocessor(family), families.batch(family)
    task = families.masked_lm(family, preprocessor, **families.generator_sizes(family))
    families.randomize(task, seed=3)
    task.save_to_preset(str(tmp_path / "own"))
    card = publish(PublishSettings(str(tmp_path / "own"), "hf://me/both", "keras_hub"), dry_run=True).card
    assert "KerasHub loads the backbone of this model, and its tokenizer." in card and "import keras_hub" not in card
    card = publish(PublishSettings(str(tmp_path / "own"), "hf://me/both", "huggingface"), dry_run=True).card
    assert 'transformers.AutoModel.from_pretrained("me/both")' in card and "A replaced-token discriminator: " in card
    mean = mean_of_presets([str(tmp_path / "own")] * 2)
    assert np.allclose(mean.masked_logits(rows), task.masked_logits(rows), atol=1e-5)
    assert np.allclose(mean.detection_logits(rows), task.detection_logits(rows), atol=1e-5)
    grown = with_added_tokens(task, ["foxtrot"])
    assert grown.backbone.vocabulary_size == task.backbone.vocabulary_size + 1
    assert np.allclose(grown.detection_logits(rows), task.detection_logits(rows), atol=1e-5)
    for to in ("onnx", "saved_model", "litert"):
        with pytest.raises(InputError, match="a generator and its discriminator are two models"):
            convert(str(tmp_path / "own"), str(tmp_path / to), to)
    with pytest.raises(InputError, match="predictions need a preset with the head of a task"):
        load_finetuned(str(tmp_path / "own"))
