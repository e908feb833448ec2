"""`clozekit convert`: every format from every layout, the same outputs, in one line what differs, or a refusal."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as small
import tensorflow as tf
from long_variants import DISTINCT, FULL

from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import Converted, convert
from clozekit.model import Backbone, MaskedLM
from clozekit.model.families.grow_vocabulary import with_added_tokens
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.tokenizers.common.errors import InputError

pytestmark = pytest.mark.slow


def same_weights(a: Any, b: Any) -> bool:
    return all((x == y).all() for x, y in zip(small.kept_weights(a), small.kept_weights(b), strict=True))


@pytest.mark.parametrize("name", small.NAMES)
def test_there_and_back_a_task_is_what_it_was(name: str, tmp_path: Path) -> None:
    masked_lm = small.masked_lm(name, small.masked_lm_preprocessor(name, seed=2), small.GROUPS.get(name))
    first, second, third = (str(tmp_path / name) for name in ("first", "second", "third"))
    masked_lm.save_to_preset(first)
    assert convert(first, second, "huggingface").load_with.startswith("transformers.AutoModelForMaskedLM")
    convert(second, third, "clozekit")
    again = MaskedLM.from_preset(third)
    assert type(again) is type(masked_lm)
    assert same_weights(again, masked_lm)
    assert again.preprocessor.get_config() == masked_lm.preprocessor.get_config()
    assert again.head_settings() == masked_lm.head_settings()
    assert again.backbone.settings() == masked_lm.backbone.settings()


def test_the_command_says_what_was_written_and_how_to_load_it(tmp_path: Path, capsys: Any) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    small.text_classifier("roberta", small.text_classifier_preprocessor("roberta")).save_to_preset(source)
    assert main(["convert", source, target, "--to", "keras_hub"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("RobertaTextClassifier of ")
    assert out.splitlines()[1] == f'keras_hub.models.RobertaTextClassifier.from_preset("{target}")'
    assert err == ""
    assert main(["convert", source, source, "--to", "huggingface"]) == 2
    assert "beside what it is made from" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none"), target, "--to", "huggingface"]) == 2


def test_what_keras_hub_computes_otherwise_is_noted_or_refused(tmp_path: Path) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    exact = small.masked_lm("bert", backbone_changes={"activation": "gelu"}, head_layer_norm_epsilon=1e-12)
    exact.preprocessor = small.masked_lm_preprocessor("bert")
    save_huggingface(exact, source)
    (note,) = convert(source, target, "keras_hub").notes
    assert note == (
        "KerasHub will compute this BertMaskedLM a little otherwise: activation gelu becomes gelu_approximate,"
        " head_layer_norm_epsilon 1e-12 becomes 1e-05"
    )
    changes: dict[str, Any]
    for changes in ({"activation": "relu"}, {"layer_norm_epsilon": 1e-3}):
        other = small.masked_lm("bert", small.masked_lm_preprocessor("bert"), backbone_changes=changes)
        other.save_to_preset(source)
        with pytest.raises(InputError, match="KerasHub's BertBackbone has no settings for"):
            convert(source, target, "keras_hub")
        assert convert(source, target, "clozekit").notes == []


def test_a_backbone_alone_is_converted_as_one(tmp_path: Path) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    backbone = small.backbone("albert")
    backbone.save_to_preset(source)
    small.masked_lm_preprocessor("albert").save_to_preset(source)
    convert(source, target, "keras_hub")
    assert same_weights(Backbone.from_preset(target), backbone)
    note = convert(source, str(tmp_path / "saved"), "saved_model").notes
    assert note == ["takes ids (serving_default) and strings (texts); import tensorflow_text before it is loaded"]
    rows = {name: value for name, value in small.batch("albert").items() if name != "mask_positions"}
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    expected = backbone(rows)
    for name, value in serve(**{name: tf.constant(value) for name, value in rows.items()}).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", small.NAMES)
def test_a_backbone_alone_goes_to_hugging_face_and_comes_back(name: str, tmp_path: Path) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    backbone = small.backbone(name)
    backbone.save_to_preset(source)
    small.masked_lm_preprocessor(name).save_to_preset(source)
    assert "transformers.AutoModel.from_pretrained" in convert(source, target, "huggingface").load_with
    again = Backbone.from_preset(target)
    assert again.settings() == backbone.settings()
    assert same_weights(again, backbone)
    assert type(small.tokenizer(name)).from_preset(target).get_vocabulary() == small.tokenizer(name).get_vocabulary()


def test_a_saved_model_takes_no_strings_where_tokens_were_added(tmp_path: Path) -> None:
    """The operation of SentencePiece in a graph does not know them."""
    grown = with_added_tokens(small.masked_lm("albert", small.masked_lm_preprocessor("albert")), ["foxtrot"])
    grown.save_to_preset(str(tmp_path / "preset"))
    converted = convert(str(tmp_path / "preset"), str(tmp_path / "saved"), "saved_model")
    assert converted.notes[0].startswith("takes ids alone: the tokenizer of albert with added tokens runs outside")


@pytest.fixture(scope="module")
def saved_model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Converted, Any]]:
    """family -> a masked LM, what converting it said, its SavedModel loaded."""

    @functools.cache
    def make(name: str) -> tuple[Any, Converted, Any]:
        folder = tmp_path_factory.mktemp(name)
        task = small.masked_lm(name, small.masked_lm_preprocessor(name))
        task.save_to_preset(str(folder / "preset"))
        converted = convert(str(folder / "preset"), str(folder / "saved"), "saved_model")
        return task, converted, tf.saved_model.load(str(folder / "saved"))

    return make


@pytest.mark.parametrize("name", ["bert", "xlm_roberta"])
def test_a_saved_model_gives_the_same_logits_for_ids(name: str, saved_model_of: Any) -> None:
    masked_lm, converted, loaded = saved_model_of(name)
    has_texts = "strings (texts)" in converted.notes[0]
    assert has_texts == (name == "xlm_roberta")
    signatures = loaded.signatures
    assert set(signatures) == {"serving_default", *(["texts"] if has_texts else [])}
    for length in (12, 9):
        rows = small.batch(name, batch_size=2, length=length)
        logits = signatures["serving_default"](**{key: tf.constant(value) for key, value in rows.items()})["logits"]
        np.testing.assert_allclose(logits, masked_lm(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["albert", "xlm_roberta"] if FULL else ["xlm_roberta"])
def test_a_saved_model_fills_masks_in_strings(name: str, saved_model_of: Any) -> None:
    task, _, loaded = saved_model_of(name)
    signature = loaded.signatures["texts"]
    mask = task.preprocessor.tokenizer.mask_token
    texts = [f"the {mask} dog{mask}.", "a lazy dog", f"{mask}", ""]
    output = {key: value.numpy() for key, value in signature(texts=tf.constant(texts)).items()}
    assert output["mask_weights"].tolist() == [[1, 1], [0, 0], [1, 0], [0, 0]]
    assert output["sequence_output"].shape == (4, 16, 16)
    tokenizer = task.preprocessor.tokenizer
    for row, text in enumerate(texts):
        ids = tokenizer.encode_batch([text], special_tokens_in_strings=True).token_ids.tolist()
        whole = [tokenizer.start_token_id, *ids, tokenizer.end_token_id]
        assert output["token_ids"][row, : output["padding_mask"][row].sum()].tolist() == whole
    for row, column in ((0, 0), (0, 1), (2, 0)):
        best = int(np.argmax(output["logits"][row, column]))
        special = set(map(tokenizer.token_to_id, tokenizer.special_tokens))
        if best not in special:
            assert task.fill_mask(texts[row], top_k=1)[column][0].token_id == best


@pytest.mark.parametrize("name", ["roberta", "albert"] if FULL else ["roberta"])
def test_a_saved_classifier_scores_ids_and_strings(name: str, tmp_path: Path) -> None:
    task = small.text_classifier(name, small.text_classifier_preprocessor(name))
    task.save_to_preset(str(tmp_path / "preset"))
    convert(str(tmp_path / "preset"), str(tmp_path / "saved"), "saved_model")
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    rows = task.preprocessor(small.TEXTS)
    expected = keras.ops.softmax(task(rows))
    output = signatures["serving_default"](**rows)
    np.testing.assert_allclose(output["scores"], expected, rtol=1e-5, atol=1e-6)
    if name == "albert":
        scores = signatures["texts"](texts=tf.constant(small.TEXTS))["scores"]
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", DISTINCT)
def test_a_keras_file_takes_raw_strings(name: str, tmp_path: Path) -> None:
    classifier = small.text_classifier(name, small.text_classifier_preprocessor(name))
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.saving.load_model(tmp_path / "classifier.keras", safe_mode=True)
    assert type(loaded) is type(classifier)
    # To trace a graph for each takes most of a second: BERT's classifiers do, as they come from the file.
    loaded.run_eagerly = classifier.run_eagerly = name != "bert"
    assert loaded.preprocessor.get_config() == classifier.preprocessor.get_config()
    np.testing.assert_array_equal(loaded.predict(small.TEXTS, verbose=0), classifier.predict(small.TEXTS, verbose=0))
    task = small.masked_lm(name, small.masked_lm_preprocessor(name, seed=3))
    task.save(tmp_path / "masked_lm.keras")
    loaded = keras.saving.load_model(tmp_path / "masked_lm.keras", safe_mode=True)
    loaded.run_eagerly = task.run_eagerly = True
    np.testing.assert_array_equal(loaded.predict_on_batch(small.TEXTS), task.predict_on_batch(small.TEXTS))
    text = f"the {loaded.preprocessor.tokenizer.mask_token} dog"
    assert loaded.fill_mask(text) == task.fill_mask(text)


def test_a_keras_file_keeps_the_options_that_keras_hub_has_not(tmp_path: Path) -> None:
    pieces = small.tokenizer("bert").get_vocabulary()
    tokenizer = small.clozekit.model.BertTokenizer(pieces, split_on_cjk=False, special_tokens_in_strings=True)
    preprocessor = small.family("bert").text_classifier_preprocessor(tokenizer, sequence_length=16)
    small.text_classifier("bert", preprocessor).save(tmp_path / "classifier.keras")
    loaded = keras.saving.load_model(tmp_path / "classifier.keras").preprocessor.tokenizer
    assert loaded.sha256() == tokenizer.sha256()
