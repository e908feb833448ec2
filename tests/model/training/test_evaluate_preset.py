"""Measuring a preset: the sums of its own logits, fixed masks, and what does not belong together refused."""

import math
from pathlib import Path

import numpy as np
import pytest
import small_families as small
import tensorflow as tf

from clozekit.model import MaskedLM
from clozekit.model.reading.dataset_reader import validation_batches
from clozekit.model.training.evaluate_preset import (
    EvaluatePresetSettings,
    evaluate_dataset,
    evaluate_texts,
    fixed_masking,
)
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError


@pytest.mark.slow
def test_loss_is_summed_loss_over_summed_count(start_preset: str, dataset: tuple[str, Manifest]) -> None:
    directory, manifest = dataset
    rows = manifest.splits["validation"].rows
    result = evaluate_dataset(start_preset, directory, EvaluatePresetSettings(batch_size=7, xla=False))
    # One batch of everything, by another way through the model: all logits.
    (batch,) = validation_batches(directory, manifest, fixed_masking(manifest, 0.15), rows)
    logits = MaskedLM.from_preset(start_preset).masked_logits(batch)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["mask_ids"], logits).numpy()
    weights = batch["mask_weights"].numpy()
    right = (logits.numpy().argmax(-1) == batch["mask_ids"].numpy()) & (weights > 0)
    loss = float((losses * weights).sum() / weights.sum())
    assert result["loss"] == pytest.approx(loss, rel=1e-5)
    assert result["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert result["accuracy"] == pytest.approx(right.sum() / weights.sum())
    assert (result["num_predictions"], result["rows"]) == (weights.sum(), rows)
    assert result["dataset_sha256"] == manifest.dataset_sha256
    ids = batch["mask_ids"].numpy()[weights > 0]
    assert result["commonest_token_accuracy"] == pytest.approx(np.bincount(ids).max() / len(ids))


@pytest.mark.slow
def test_the_masks_are_the_same_every_time_and_rows_and_rate_can_be_set(
    start_preset: str, dataset: tuple[str, Manifest]
) -> None:
    options = EvaluatePresetSettings(max_rows=5, mask_rate=0.3, xla=False)
    first, second = (evaluate_dataset(start_preset, dataset[0], options) for _ in range(2))
    assert first == second
    assert (first["rows"], first["mask_rate"]) == (5, 0.3)
    fewer = evaluate_dataset(start_preset, dataset[0], EvaluatePresetSettings(max_rows=5, xla=False))
    assert fewer["num_predictions"] < first["num_predictions"]


@pytest.mark.slow
def test_pseudo_perplexity_of_all_texts_weighs_every_token_alike(start_preset: str) -> None:
    texts = ["the cat", "the red dog ran under the old tree ."]
    result = evaluate_texts(start_preset, texts)
    task = MaskedLM.from_preset(start_preset)
    values = task.pseudo_perplexity(texts)
    assert [entry["pseudo_perplexity"] for entry in result["texts"]] == values
    assert [entry["num_tokens"] for entry in result["texts"]] == [2, 9]
    assert result["pseudo_perplexity"] == pytest.approx(
        math.exp((2 * math.log(values[0]) + 9 * math.log(values[1])) / 11)
    )


def test_a_preset_and_a_dataset_that_do_not_belong_together_are_refused(
    start_preset: str, dataset: tuple[str, Manifest], corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    options = EvaluatePresetSettings(xla=False)
    with pytest.raises(InputError, match="must hold a masked-LM head"):
        MaskedLM.from_preset(start_preset).backbone.save_to_preset(str(tmp_path / "headless"))
        evaluate_texts(str(tmp_path / "headless"), ["the cat"])
    reading = ReadSettings((str(corpus),))
    long = PrepareSettings(sequence_length=64, validation_rate=0.1, num_shards=1)
    prepare(reading, long, tokenizer_directory, str(tmp_path / "long"))
    with pytest.raises(InputError, match="rows must fit the model's 48 positions, .* has rows of 64"):
        evaluate_dataset(start_preset, str(tmp_path / "long"), options)
    whole = PrepareSettings(sequence_length=32, validation_rate=0.0, num_shards=1)
    prepare(reading, whole, tokenizer_directory, str(tmp_path / "whole"))
    with pytest.raises(InputError, match="has no validation split; prepare it with more documents"):
        evaluate_dataset(start_preset, str(tmp_path / "whole"), options)


def test_a_dataset_of_another_tokenizer_is_refused(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    small.masked_lm("roberta", small.masked_lm_preprocessor("roberta")).save_to_preset(str(tmp_path))
    with pytest.raises(InputError, match="must be prepared with the preset's tokenizer, .* has a RobertaTokenizer"):
        evaluate_dataset(str(tmp_path), dataset[0], EvaluatePresetSettings(xla=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "--batch-size must be"), ({"max_rows": 0}, "--max-rows"), ({"mask_rate": 0.0}, "--mask-rate")],
)
def test_options_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EvaluatePresetSettings(**options)  # type: ignore[arg-type]
