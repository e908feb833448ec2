"""Replaced-token detection: exact samples, ELECTRA's loss by a slow loop, learned, resumed bit for bit, kept in presets."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
import tensorflow as tf
from long_variants import DISTINCT
from replica_runs import LENGTH, toy_batches

from clozekit.model import Backbone, MaskedLM, TextClassifier
from clozekit.model.masking.mask_rows import mask_rows
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.training.controller import Run
from clozekit.model.training.evaluate_preset import evaluate_dataset
from clozekit.model.training.objectives import replaced_objective
from clozekit.model.training.objectives.ranks import area_under_curve, histograms
from clozekit.model.training.objectives.replaced_objective import sample
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
from clozekit.model.training.settings.replaced_settings import ReplacedSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import (
    EvaluateSettings,
    MaskingSettings,
    ModelSettings,
    RunSettings,
    TrainSettings,
)
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError

OBJECTIVE = replaced_objective.OBJECTIVE
TINY = ModelSettings(
    "electra", num_layers=1, num_heads=4, hidden_dim=32, intermediate_dim=64, embedding_dim=16, dropout=0.0
)
SIZES = families.generator_sizes("electra")


def one_batch() -> dict[str, tf.Tensor]:
    return {name: tf.constant(values[0]) for name, values in toy_batches(False, "replaced").items()}


def toy_task(family: str = "electra") -> Any:
    task = families.family(family).masked_lm(
        families.backbone(family, vocabulary_size=40, max_sequence_length=LENGTH),
        compile=False,
        **families.generator_sizes(family),
    )
    families.randomize(task, seed=3)
    return task


@pytest.mark.parametrize("num_pieces", [5, 128, 300])
def test_samples_are_as_frequent_as_they_are_likely(num_pieces: int) -> None:
    count = 20_000
    logits = np.random.default_rng(0).normal(scale=2, size=num_pieces).astype(np.float32)
    # A row that fills the vocabulary up.
    logits[-1] = -1e9
    dice = ((np.arange(count) + 0.5) / count).astype(np.float32)
    drawn = sample(tf.constant(np.tile(logits, (count, 1))), tf.constant(dice), 2.0).numpy()
    likely = np.exp(logits.astype(np.float64) / 2.0)
    assert np.abs(np.bincount(drawn, minlength=num_pieces) / count - likely / likely.sum()).max() < 2 / count
    assert drawn.max() < num_pieces - 1 and (np.diff(drawn) >= 0).all()


def test_the_ends_of_the_dice_draw_pieces_that_can_be_drawn() -> None:
    logits = tf.constant([[-1e9, 0.0, 1.0, -1e9]] * 2)
    assert sample(logits, tf.constant([2.0**-24, 1 - 2.0**-24])).numpy().tolist() == [1, 2]


def test_dice_are_a_function_of_seed_epoch_row_and_position_and_change_no_mask() -> None:
    rule = MaskingRule(mask_token_id=4, vocabulary_size=40, special_token_ids=(0, 1, 2, 3, 4), seed=7)
    ids = tf.constant(np.random.default_rng(0).integers(5, 40, (6, 20)).astype(np.int32))
    rows = tf.range(6, dtype=tf.int64)
    plain = mask_rows(ids, rows, tf.constant(2, tf.int64), rule)
    with_dice = mask_rows(ids, rows, tf.constant(2, tf.int64), dataclasses.replace(rule, has_dice=True))
    dice = with_dice.pop("mask_dice").numpy()
    assert all(np.array_equal(value, plain[name]) for name, value in with_dice.items())
    assert dice.shape == plain["mask_positions"].shape and ((dice > 0) & (dice < 1)).all()
    # The same rows in another order, one of them alone, another epoch.
    other = dataclasses.replace(rule, has_dice=True)
    turned = mask_rows(ids[::-1], rows[::-1], tf.constant(2, tf.int64), other)["mask_dice"]
    assert np.array_equal(turned.numpy()[::-1], dice)
    alone = mask_rows(ids[2:3], rows[2:3], tf.constant(2, tf.int64), other)["mask_dice"]
    assert np.array_equal(alone, dice[2:3])
    assert not np.array_equal(mask_rows(ids, rows, tf.constant(3, tf.int64), other)["mask_dice"], dice)


def slow_sums(task: Any, batch: dict[str, np.ndarray], temperature: float) -> dict[str, float]:
    """Row by row and token by token, as the paper says it."""
    logits = np.asarray(task.masked_logits(batch), np.float64)
    token_ids, labels = batch["token_ids"].copy(), np.zeros_like(batch["token_ids"])
    generator_loss = 0.0
    for row, places in enumerate(batch["mask_positions"]):
        for slot, place in enumerate(places):
            if not batch["mask_weights"][row, slot]:
                continue
            likely = np.exp(logits[row, slot] - logits[row, slot].max())
            generator_loss -= np.log(likely[batch["mask_ids"][row, slot]] / likely.sum())
            warm = np.exp((logits[row, slot] - logits[row, slot].max()) / temperature)
            drawn = int(np.searchsorted(np.cumsum(warm), batch["mask_dice"][row, slot] * warm.sum(), side="right"))
            token_ids[row, place] = drawn
            labels[row, place] = drawn != batch["mask_ids"][row, slot]
    real = batch["padding_mask"] > 0
    found = np.asarray(task.detection_logits({**batch, "token_ids": token_ids}), np.float64)
    losses = np.log1p(np.exp(-np.abs(found))) + np.maximum(found, 0) - found * labels
    return {
        "loss": generator_loss,
        "second_loss": losses[real].sum(),
        "second_count": real.sum(),
        "second_correct": ((found > 0) == (labels > 0))[real].sum(),
        "second_positive": labels[real].sum(),
    }


@pytest.mark.parametrize(
    ("family", "temperature"), [("electra", 1.0), ("electra", 0.5), *((name, 1.0) for name in DISTINCT)]
)
def test_the_loss_is_the_papers(family: str, temperature: float) -> None:
    task, batch = toy_task(family), {name: values.numpy() for name, values in one_batch().items()}
    objective = replaced_objective.replaced_objective(50.0, temperature)
    sums = objective.sums(task, one_batch(), False)
    expected = slow_sums(task, batch, temperature)
    assert expected["second_positive"] > 5
    for name, value in expected.items():
        assert float(getattr(sums, name)) == pytest.approx(value, rel=1e-4), name
    both = expected["loss"] / float(sums.count) + 50 * expected["second_loss"] / expected["second_count"]
    assert float(objective.minimised(sums) / sums.count) == pytest.approx(both, rel=1e-4)
    assert float(objective.measures(sums)["replaced_share"]) == pytest.approx(
        expected["second_positive"] / expected["second_count"]
    )


def test_a_sample_that_is_the_token_itself_counts_as_original() -> None:
    task, batch = toy_task(), one_batch()
    # The generator is sure of the token that was there.
    bias = np.full(40, -1e4, np.float32)
    bias[7] = 0.0
    task.masked_lm_head.parts().bias.assign(bias)
    batch["mask_ids"] = tf.fill(batch["mask_ids"].shape, 7)
    assert float(OBJECTIVE.sums(task, batch, False).second_positive) == 0
    batch["mask_ids"] = tf.fill(batch["mask_ids"].shape, 8)
    places = {
        (row, place)
        for row, slots in enumerate(batch["mask_positions"].numpy())
        for place, weight in zip(slots, batch["mask_weights"].numpy()[row], strict=True)
        if weight
    }
    outputs = OBJECTIVE.outputs(task, batch, False)
    assert set(zip(*map(list, np.nonzero(outputs.is_replaced.numpy())), strict=True)) == places


def test_samples_in_chunks_are_those_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = toy_task(), one_batch()
    whole = OBJECTIVE.sums(task, batch, False)
    monkeypatch.setattr("clozekit.model.tasks.masked_lm.MAX_LOGITS", 1)
    monkeypatch.setattr(replaced_objective, "CHUNK_LOGITS", 40 * 7)
    chunked = tf.function(lambda: OBJECTIVE.sums(task, batch, False), jit_compile=False)()
    for one, other in zip(whole, chunked, strict=True):
        assert float(other) == pytest.approx(float(one), rel=1e-5)


@pytest.mark.parametrize("family", families.NAMES)
def test_no_gradient_of_the_discriminator_reaches_the_generator_but_through_the_embeddings(family: str) -> None:
    task, batch = toy_task(family), one_batch()
    variables = [variable.value for variable in OBJECTIVE.variables(task)]
    names = [variable.path for variable in OBJECTIVE.variables(task)]
    assert len(set(names)) == len(names)
    assert not any(name.startswith("pooled_dense") for name in names)
    with tf.GradientTape(persistent=True) as tape:
        sums = OBJECTIVE.sums(task, batch, False)
    of_detection = dict(zip(names, tape.gradient(sums.second_loss, variables), strict=True))
    of_masks = dict(zip(names, tape.gradient(sums.loss, variables), strict=True))
    for name in names:
        is_shared = name.startswith(("token_", "position_emb", "segment_emb", "embeddings/", "embeddings_layer_norm"))
        is_generators = name.startswith(("generator_", "mlm_head"))
        assert (of_detection[name] is not None) == (is_shared or not is_generators), name
        assert (of_masks[name] is not None) == (is_shared or is_generators), name


def test_the_area_under_the_curve_is_that_of_all_pairs() -> None:
    dice = np.random.default_rng(0)
    logits, yes = dice.normal(size=400).astype(np.float32), dice.random(400) < 0.3
    logits[yes] += 1
    weights = (dice.random(400) < 0.8).astype(np.float32)
    counts = histograms(tf.constant(logits), tf.constant(yes), tf.constant(weights)).numpy()
    real = weights > 0
    pairs = logits[yes & real][:, None] - logits[~yes & real][None, :]
    assert area_under_curve(counts) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2, abs=2e-3)
    assert counts.sum() == weights.sum()


def config_for(dataset: str, directory: Path, steps: int, **changes: Any) -> RunSettings:
    fields = {
        "objective": "replaced",
        "model": TINY,
        "train": TrainSettings(steps=steps, global_batch_size=16, micro_batch_size=8, steps_per_loop=8, xla=False),
        "optimizer": OptimizerSettings(learning_rate=0.01),
        "masking": MaskingSettings(train_rate=0.15),
        "checkpoint": CheckpointSettings(every_steps=40, keep=99, background=False),
        "evaluate": EvaluateSettings(every_steps=20, max_rows=32),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


def curve(directory: Path) -> list[dict[str, Any]]:
    left_out = ("seconds", "memory", "tokens_per", "rows_per", "wait", "mfu", "flops", "cost", "steps_per")
    return [
        {name: value for name, value in entry.items() if not any(word in name for word in left_out)}
        for entry in read_metrics(directory / METRICS_FILE)
    ]


@pytest.fixture(scope="module")
def learnable(tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sentences whose words go by one another, one of the words by none."""
    folder, dice = tmp_path_factory.mktemp("learnable"), np.random.default_rng(0)
    forms = ["the {} cat sat on the mat .", "a {} dog ran under a tree .", "it was a {} bird on my house ."]
    texts = [
        " ".join(forms[dice.integers(3)].format(dice.choice(["red", "blue", "old", "big"])) for _ in range(3))
        for _ in range(400)
    ]
    lines = [json.dumps({"id": f"{number}", "text": text}) for number, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = PrepareSettings(sequence_length=64, validation_rate=0.2, num_shards=2)
    prepare(ReadSettings((str(folder / "texts.jsonl"),)), options, tokenizer_directory, str(folder / "data"))
    return str(folder / "data")


@pytest.fixture(scope="module")
def trained(learnable: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    directory = tmp_path_factory.mktemp("replaced") / "run"
    return directory, Run(config_for(learnable, directory, 160)).train()


def test_a_run_learns_to_tell_samples_from_tokens(learnable: str, trained: tuple[Path, dict[str, float]]) -> None:
    directory, metrics = trained
    entries = read_metrics(directory / METRICS_FILE)
    areas = [entry["detection_auc"] for entry in entries if entry["kind"] == "validation"]
    assert areas[-1] > 0.68 and areas[-1] > areas[0] + 0.05, areas
    first = next(entry for entry in entries if entry["kind"] == "train")
    # An untrained generator is nearly never right.
    assert first["replaced_share"] == pytest.approx(first["masked_share"], rel=0.1)
    assert {"detection_loss", "detection_accuracy", "num_detections", "replaced_share"} <= set(metrics)
    preset = str(directory / "preset")
    measured = evaluate_dataset(preset, learnable, EvaluatePresetSettings(xla=False, max_rows=32))
    for name in ("loss", "detection_auc", "replaced_share"):
        assert measured[name] == pytest.approx(metrics[name], abs=1e-3)
    task = MaskedLM.from_preset(preset)
    assert len(task.fill_mask("the [MASK] dog", top_k=2)[0]) == 2
    assert np.array_equal(Backbone.from_preset(preset).get_weights()[0], task.backbone.get_weights()[0])
    assert TextClassifier.from_preset(preset, num_classes=2).backbone.hidden_dim == 32


def test_a_run_that_is_resumed_is_as_if_never_stopped(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    whole, _ = trained
    config = dataclasses.replace(load_config(whole / "config.yaml"), directory=str(tmp_path / "again"))
    shutil.copytree(whole, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "preset")
    for path in (tmp_path / "again" / "checkpoints").iterdir():
        if int(path.name[len("step-") :][:8]) > 120:
            shutil.rmtree(path)
    Run(config).train()
    assert curve(tmp_path / "again") == curve(whole)
    before, after = (MaskedLM.from_preset(str(place / "preset")) for place in (whole, tmp_path / "again"))
    assert all((a == b).all() for a, b in zip(before.get_weights(), after.get_weights(), strict=True))
    # A checkpoint is a model, both halves of it.
    latest = MaskedLM.from_preset(str(tmp_path / "again" / "latest"))
    assert all((a == b).all() for a, b in zip(before.get_weights(), latest.get_weights(), strict=True))


def test_a_run_begins_from_both_halves_or_from_a_body_alone(
    learnable: str, trained: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    preset = str(trained[0] / "preset")
    other = ReplacedSettings(generator_size=1.0)
    taken = Run(config_for(learnable, tmp_path / "taken", 4, init_from=preset, model=ModelSettings(), replaced=other))
    taken.begin_anew()
    assert taken.task.generator.hidden_dim == 8
    assert taken.evaluate()["detection_auc"] == pytest.approx(trained[1]["detection_auc"], abs=1e-3)
    with pytest.raises(InputError, match="holds a generator and its discriminator, which objective=replaced trains"):
        Run(config_for(learnable, tmp_path / "alone", 4, init_from=preset, model=ModelSettings(), objective=None))
    whole = MaskedLM.from_preset(preset)
    whole.generator_alone().save_to_preset(str(tmp_path / "generator"))
    body = Run(
        config_for(learnable, tmp_path / "body", 4, init_from=str(tmp_path / "generator"), model=ModelSettings())
    )
    body.begin_anew()
    assert body.task.backbone.hidden_dim == 8 and body.task.generator.hidden_dim == 2
    ids = np.asarray(whole.backbone.token_embedding.embeddings)
    assert np.array_equal(np.asarray(body.task.backbone.token_embedding.embeddings)[: len(ids)], ids)


def test_what_can_not_be_trained_so_is_refused(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    bert = dataclasses.replace(TINY, family="bert", embedding_dim=None)
    with pytest.raises(InputError, match="replaced.generator_size must be 1 .*, got 0.25; leave it out"):
        Run(config_for(dataset[0], tmp_path / "run", 4, model=bert, replaced=ReplacedSettings(generator_size=0.25)))
    with pytest.raises(
        InputError, match="a generator shares the embeddings .* which have 16 values .*, got 4; pass 16"
    ):
        families.masked_lm("bert", **SIZES)
    with pytest.raises(InputError, match="a head of pairs reads .*; leave pair_head or the generator out"):
        families.masked_lm("bert", pair_head=True, **{**SIZES, "generator_hidden_dim": 16})
    with pytest.raises(InputError, match="replaced.* are settings of objective=replaced"):
        RunSettings("data", "run", replaced=ReplacedSettings())
    for name, value in (("weight", -1.0), ("generator_size", 0.0), ("generator_layers", 1.5), ("temperature", 0.0)):
        with pytest.raises(InputError, match=f"replaced.{name} must be"):
            ReplacedSettings(**{name: value})
    with pytest.raises(InputError, match="has no discriminator; make it with num_generator_layers"):
        families.masked_lm("electra").detection_logits(families.batch("electra"))
    with pytest.raises(InputError, match="a generator needs all of num_generator_layers"):
        families.masked_lm("electra", num_generator_layers=1)
