"""Tokenizers and preprocessors through `keras.saving`, and the parts of a preprocessor that KerasHub's users reach for."""

import json
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families

import clozekit.model
from clozekit.tokenizers.common.errors import InputError


def there_and_back(part: Any) -> Any:
    return keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(part))))


@pytest.mark.parametrize("name", families.NAMES)
def test_keras_saving_takes_tokenizers_and_preprocessors(name: str, tmp_path: Any) -> None:
    saved = families.tokenizer(name)
    saved.save_assets(tmp_path)
    tokenizer = there_and_back(saved)
    assert type(tokenizer) is type(saved)
    assert tokenizer.get_config() == saved.get_config()
    assert (tokenizer.config_file, tokenizer.file_assets) == ("tokenizer.json", list(saved.asset_files))
    tokenizer.load_assets(tmp_path)
    assert tokenizer.sha256() == saved.sha256()
    for kind, options in (("masked_lm", {"seed": 5, "whole_word_masking": True}), ("text_classifier", {})):
        preprocessor = getattr(families, f"{kind}_preprocessor")(name, **options)
        other = there_and_back(preprocessor)
        assert type(other) is type(preprocessor)
        assert other.get_config() == preprocessor.get_config()
        assert other.own_options() == preprocessor.own_options()
        assert preprocessor.backbone_cls is saved.backbone_cls is families.family(name).backbone
        # A tokenizer itself is taken too.
        settings = {**preprocessor.get_config(), "tokenizer": saved, "name": "x"}
        assert type(preprocessor).from_config(settings).tokenizer is saved


def test_own_settings_of_a_tokenizer_are_kept() -> None:
    tokenizer = families.tokenizer("roberta")
    options = {"special_tokens_in_strings": True, "drops_unknown": True, "sequence_length": 7, "dtype": "string"}
    other = there_and_back(type(tokenizer)(tokenizer.own_pieces(), tokenizer.merges, **options))
    assert {name: getattr(other, name) for name in options} == options


def test_a_description_reads_no_files_and_names_its_own_tokenizer() -> None:
    for cls, argument in (
        ("BertTokenizer", "vocabulary"),
        ("RobertaTokenizer", "merges"),
        ("AlbertTokenizer", "proto"),
    ):
        with pytest.raises(InputError, match=f"must not name files to be read, its {argument} is '/etc/passwd'"):
            getattr(clozekit.model, cls).from_config({argument: "/etc/passwd"})
    config = families.masked_lm_preprocessor("bert").get_config()
    config["tokenizer"] = {"class_name": "Lambda", "config": {}}
    with pytest.raises(InputError, match="must be a BertTokenizer, the description says 'Lambda'"):
        clozekit.model.BertMaskedLMPreprocessor.from_config(config)


@pytest.mark.parametrize("name", families.NAMES)
def test_packer_and_masker_do_what_the_preprocessor_does(name: str) -> None:
    tokenizer, pair = families.tokenizer(name), (families.TEXTS[:2], families.TEXTS[2:])
    expected = families.text_classifier_preprocessor(name)(pair)
    preprocessor = families.masked_lm_preprocessor(name, mask_token_rate=1.0, random_token_rate=0.0)
    token_ids, segment_ids = preprocessor.packer(tuple(tokenizer(texts) for texts in pair))
    np.testing.assert_array_equal(token_ids, expected["token_ids"])
    if "segment_ids" in expected:
        np.testing.assert_array_equal(segment_ids, expected["segment_ids"])
    masked = preprocessor.masker(token_ids)
    x, _, weights = preprocessor(pair)
    np.testing.assert_array_equal(masked["mask_weights"], weights)
    assert masked["mask_positions"].shape == x["mask_positions"].shape
    is_masked = np.asarray(masked["token_ids"]) == tokenizer.mask_token_id
    np.testing.assert_array_equal(is_masked.sum(axis=1), np.asarray(weights).sum(axis=1))
    np.testing.assert_array_equal(np.where(is_masked, 0, token_ids), np.where(is_masked, 0, masked["token_ids"]))
