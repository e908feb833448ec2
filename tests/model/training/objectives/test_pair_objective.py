"""Masked tokens and sentence pairs: BERT's loss exactly, in micro-batches too; learned, resumed bit for bit, kept in presets."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
import tensorflow as tf
from replica_runs import LENGTH, ROWS, toy_batches

from clozekit.model import MaskedLM
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.model.training.controller import Run
from clozekit.model.training.evaluate_preset import evaluate_dataset
from clozekit.model.training.objectives import pair_objective
from clozekit.model.training.objectives.objective import Sums
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
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

OBJECTIVE = pair_objective.OBJECTIVE
TINY = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1)


def one_batch() -> dict[str, tf.Tensor]:
    return {name: tf.constant(values[0]) for name, values in toy_batches(False, "pairs").items()}


def toy_task() -> Any:
    return families.family("bert").masked_lm(
        families.backbone("bert", vocabulary_size=40, max_sequence_length=LENGTH), pair_head=True, compile=False
    )


def test_the_loss_of_a_step_is_the_mean_of_the_masks_and_the_mean_of_the_pairs_however_it_is_cut() -> None:
    task, batch = toy_task(), one_batch()
    # By hand: as in transformers' BertForPreTraining, of the first tokens of pairs.
    logits, pairs = task.masked_logits(batch), task.pair_logits(batch).numpy()
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["mask_ids"], logits).numpy()
    weights, labels = batch["mask_weights"].numpy(), batch["pair_labels"].numpy()
    places = np.argwhere(labels >= 0)
    log_shares = pairs - np.log(np.exp(pairs).sum(axis=-1, keepdims=True))
    of_pairs = [-log_shares[row, place, labels[row, place]] for row, place in places]
    expected = (losses * weights).sum() / weights.sum() + np.mean(of_pairs)

    whole = OBJECTIVE.sums(task, batch, False)
    assert float(OBJECTIVE.minimised(whole) / whole.count) == pytest.approx(expected, rel=1e-5)
    balance = OBJECTIVE.balance(*OBJECTIVE.second.counts(batch))
    parts = [
        OBJECTIVE.sums(task, {name: value[start : start + 2] for name, value in batch.items()}, False)
        for start in range(0, ROWS, 2)
    ]
    # The last rows have no pair at all.
    assert float(parts[-1].second_count) == 0
    summed = sum(float(OBJECTIVE.minimised(part, balance)) for part in parts)
    assert summed / float(whole.count) == pytest.approx(expected, rel=1e-5)


def test_measures_are_those_of_both_and_no_numbers_where_no_pair_was() -> None:
    found = OBJECTIVE.measures(Sums(6.0, 3.0, 1.0, 0.0, 2.0, 4.0, 3.0))
    assert found == {"loss": 2.0, "accuracy": 1 / 3, "pair_loss": 0.5, "pair_accuracy": 0.75}
    assert OBJECTIVE.minimised(Sums(6.0, 3.0, 1.0, 0.0, 2.0, 4.0, 3.0)) / 3.0 == 2.0 + 0.5
    assert np.isnan(OBJECTIVE.measures(Sums(6.0, 3.0, 1.0))["pair_accuracy"])


@pytest.fixture(scope="module")
def ordered(tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pairs whose order every word tells: documents count from one to eight."""
    folder = tmp_path_factory.mktemp("ordered")
    words = ["the cat sat .", "a red dog ran .", "the blue bird flew .", "it was very happy ."]
    texts = [{"id": f"{n}", "text": " ".join(word.capitalize() for word in words)} for n in range(240)]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(text) for text in texts), encoding="utf-8")
    options = PrepareSettings(sequence_length=32, pairs="order", validation_rate=0.2, num_shards=2)
    prepare(ReadSettings((str(folder / "a.jsonl"),)), options, tokenizer_directory, str(folder / "data"))
    return str(folder / "data")


def config_for(dataset: str, directory: Path, steps: int, **changes: Any) -> RunSettings:
    fields = {
        "objective": "pairs",
        "model": TINY,
        "train": TrainSettings(steps=steps, global_batch_size=16, micro_batch_size=8, steps_per_loop=8, xla=False),
        "optimizer": OptimizerSettings(learning_rate=0.03),
        "masking": MaskingSettings(train_rate=0.15),
        "checkpoint": CheckpointSettings(every_steps=8, keep=99, background=False),
        "evaluate": EvaluateSettings(every_steps=steps, max_rows=32),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


def curve(directory: Path) -> list[dict[str, Any]]:
    names = ("kind", "step", "loss", "accuracy", "pair_loss", "pair_accuracy", "gradient_norm")
    return [{name: entry.get(name) for name in names} for entry in read_metrics(directory / METRICS_FILE)]


@pytest.fixture(scope="module")
def trained(ordered: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    directory = tmp_path_factory.mktemp("pairs") / "run"
    return directory, Run(config_for(ordered, directory, 80)).train()


def test_a_run_learns_the_order_of_sentences_and_its_preset_knows_it(
    ordered: str, trained: tuple[Path, dict[str, float]]
) -> None:
    directory, metrics = trained
    assert metrics["pair_accuracy"] > 0.9
    assert metrics["num_pairs"] >= 32
    preset = str(directory / "preset")
    measured = evaluate_dataset(preset, ordered, EvaluatePresetSettings(xla=False, max_rows=32))
    assert measured["pair_accuracy"] == pytest.approx(metrics["pair_accuracy"])
    task = MaskedLM.from_preset(preset)
    assert task.head_settings()["pair_head"] is True
    # It fills masks as any other does.
    assert len(task.fill_mask("the cat [MASK] .", top_k=2)[0]) == 2


def test_a_run_that_is_resumed_is_as_if_never_stopped(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    whole, _ = trained
    steps = max(entry["step"] for entry in curve(whole))
    config = dataclasses.replace(load_config(whole / "config.yaml"), directory=str(tmp_path / "again"))
    shutil.copytree(whole, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "preset")
    for path in (tmp_path / "again" / "checkpoints").iterdir():
        if int(path.name[len("step-") :][:8]) > steps - 8:
            shutil.rmtree(path)
    Run(config).train()
    assert curve(tmp_path / "again") == curve(whole)
    before, after = (MaskedLM.from_preset(str(place / "preset")) for place in (whole, tmp_path / "again"))
    assert all((a == b).all() for a, b in zip(before.get_weights(), after.get_weights(), strict=True))


def test_a_run_begins_from_a_model_with_or_without_a_head_of_pairs(
    ordered: str, trained: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    preset = str(trained[0] / "preset")
    taken = Run(config_for(ordered, tmp_path / "taken", 4, init_from=preset, model=ModelSettings()))
    taken.begin_anew()
    assert taken.evaluate()["pair_accuracy"] == pytest.approx(trained[1]["pair_accuracy"])
    # Masks alone: the head that nothing would train is left behind.
    alone = Run(config_for(ordered, tmp_path / "alone", 4, init_from=preset, model=ModelSettings(), objective=None))
    alone.begin_anew()
    assert alone.task.pair_head is None
    assert alone.evaluate()["loss"] == pytest.approx(trained[1]["loss"], rel=1e-5)
    alone.task.backbone.pooled_dense.bias.assign(np.zeros(16))
    alone.task.backbone.has_loaded_pooler = False
    alone.finished_task().save_to_preset(str(tmp_path / "bare"))
    both = [
        Run(config_for(ordered, tmp_path / name, 4, init_from=str(tmp_path / "bare"), model=ModelSettings()))
        for name in ("one", "two")
    ]
    for run in both:
        run.begin_anew()
    one, two = (run.task.get_weights() for run in both)
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert both[0].evaluate()["loss"] == pytest.approx(trained[1]["loss"], rel=1e-5)


@pytest.mark.parametrize("name", families.WITH_PAIRS)
def test_presets_keep_the_head_in_both_layouts(name: str, tmp_path: Path) -> None:
    more = {"pair_dropout": 0.2} if name == "albert" else {}
    task = families.masked_lm(name, families.masked_lm_preprocessor(name), pair_head=True, **more)
    families.randomize(task.pair_head, seed=2)
    batch = families.batch(name)
    task.save_to_preset(str(tmp_path / "keras"))
    with pytest.warns(UserWarning, match="head_layer_norm_epsilon"):
        save_huggingface(task, tmp_path / "huggingface")
    for layout in ("keras", "huggingface"):
        back = MaskedLM.from_preset(str(tmp_path / layout))
        assert np.array_equal(back.pair_logits(batch), task.pair_logits(batch))
        assert np.array_equal(back.masked_logits(batch), task.masked_logits(batch))
        assert back.head_settings() == task.head_settings()
    config = json.loads((tmp_path / "huggingface" / "config.json").read_text("utf-8"))
    assert config["architectures"][0].endswith("ForPreTraining")
    assert config.get("classifier_dropout_prob") == more.get("pair_dropout")


def test_fit_leaves_the_head_of_pairs_as_it_is() -> None:
    task = families.masked_lm("bert", families.masked_lm_preprocessor("bert"), pair_head=True)
    before = [np.array(variable) for variable in task.pair_variables()]
    task.compile(run_eagerly=True)
    task.fit(families.TEXTS, batch_size=2, verbose=0)
    assert all((old == new).all() for old, new in zip(before, map(np.array, task.pair_variables()), strict=True))


@pytest.mark.parametrize("name", ["roberta", "distil_bert", "modern_bert", "electra"])
def test_families_without_a_pooler_have_no_head_of_pairs(name: str) -> None:
    with pytest.raises(InputError, match="a head of pairs reads a pooler, a .*Backbone has none; leave pair_head out"):
        families.masked_lm(name, pair_head=True)
    with pytest.raises(InputError, match="has no head of pairs; make it with pair_head=True"):
        families.masked_lm(name).pair_logits(families.batch(name))


def test_what_can_not_be_trained_on_pairs_is_refused(
    ordered: str, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="needs a dataset of sentence pairs, .* prepare it with --pairs next or"):
        Run(config_for(dataset[0], tmp_path / "run", 4))
    with pytest.raises(InputError, match="of the family bert or albert, got distil_bert"):
        Run(config_for(ordered, tmp_path / "run", 4, model=dataclasses.replace(TINY, family="distil_bert")))
    rule = "objective must be pairs, replaced or module:function, got 'next'"
    with pytest.raises(InputError, match=rule):
        RunSettings("data", "run", objective="next")
