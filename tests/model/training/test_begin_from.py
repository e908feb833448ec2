"""A run that begins from a preset has its architecture and its function, in every family, whatever its configuration."""

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families
import yaml

from clozekit.model import BertMaskedLMPreprocessor, MaskedLM
from clozekit.model.families.family_table import family_named
from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.layers.transformer_layers import ACTIVATIONS as KERAS_ACTIVATIONS
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.model.presets.load_presets import open_source
from clozekit.model.training.architecture import check_tokenizer, of_source
from clozekit.model.training.begin_from import begin_from
from clozekit.model.training.build_task import build_task
from clozekit.model.training.controller import Run
from clozekit.model.training.settings.loop_settings import CheckpointSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import (
    ACTIVATIONS,
    EvaluateSettings,
    ModelSettings,
    RunSettings,
    TrainSettings,
)
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

# What checkpoints have that no key of a configuration had.
UNUSUAL = {"activation": "relu", "layer_norm_epsilon": 1e-3, "attention_dropout": 0.25, "max_sequence_length": 40}

NOTHING = ModelSettings()


def begun(preset: str, model: ModelSettings = NOTHING, longest_row: int = 12) -> Any:
    """The task of a run that begins from a preset, its vocabulary no longer filled up."""
    config = RunSettings("dataset", "run", init_from=preset, model=model)
    source = open_source(preset)
    architecture = of_source(source, model, longest_row)
    task = build_task(config, architecture)
    assert task.backbone.vocabulary_size % 64 == 0
    begin_from(task, preset, source)
    return with_vocabulary(task, architecture.backbone["vocabulary_size"])


@pytest.mark.parametrize("layout", ["clozekit", "huggingface"])
@pytest.mark.parametrize("name", small_families.NAMES)
def test_a_run_begins_with_the_function_of_its_preset(name: str, layout: str, tmp_path: Path) -> None:
    # More rows than pieces, as published checkpoints have: those of no piece are weights too.
    changes = {**UNUSUAL, "vocabulary_size": small_families.tokenizer(name).vocabulary_size() + 3}
    head = {"head_activation": "silu", "head_layer_norm_epsilon": 1e-4}
    theirs = family_named(name).huggingface
    if layout == "huggingface":
        changes |= theirs.fixed
        # There a head has the settings of its body.
        head = {
            # ModernBERT's heads have a setting of their own.
            "head_activation": "gelu" if name == "modern_bert" else theirs.head_activation or changes["activation"],
            "head_layer_norm_epsilon": changes["layer_norm_epsilon"],
        }
    task = small_families.masked_lm(name, small_families.masked_lm_preprocessor(name), changes, **head)
    save = task.save_to_preset if layout == "clozekit" else functools.partial(save_huggingface, task)
    save(str(tmp_path / "preset"))
    again = begun(str(tmp_path / "preset"))
    assert again.backbone.settings() == task.backbone.settings()
    assert again.head_settings() == task.head_settings()
    rows = small_families.batch(name)
    np.testing.assert_array_equal(np.asarray(again.masked_logits(rows)), np.asarray(task.masked_logits(rows)))


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("begin") / "preset")
    small_families.masked_lm("bert", small_families.masked_lm_preprocessor("bert"), UNUSUAL).save_to_preset(directory)
    return directory


def test_a_pooler_that_looks_fresh_stays_the_checkpoints_own(
    dataset: tuple[str, Manifest], tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    """Its biases are 0, as those of a fresh one: what says that it is none is kept by runs, stopped or not."""
    preprocessor = BertMaskedLMPreprocessor(tokenizer, sequence_length=32)
    size = {"vocabulary_size": tokenizer.vocabulary_size(), "max_sequence_length": 64}
    task = small_families.masked_lm("bert", preprocessor, size)
    task.backbone.pooled_dense.bias.assign(np.zeros(task.backbone.hidden_dim))
    task.backbone.has_loaded_pooler = True
    task.save_to_preset(str(tmp_path / "start"))
    config = RunSettings(
        dataset[0],
        str(tmp_path / "run"),
        init_from=str(tmp_path / "start"),
        train=TrainSettings(steps=2, global_batch_size=4, steps_per_loop=1, xla=False),
        checkpoint=CheckpointSettings(every_steps=1, keep=9, background=False),
        evaluate=EvaluateSettings(every_steps=2, max_rows=4),
    )
    Run(config).train()
    assert MaskedLM.from_preset(str(tmp_path / "run" / "preset")).backbone.has_loaded_pooler
    shutil.rmtree(tmp_path / "run" / "preset")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000002")
    Run(config).train()
    for name in ("preset", "step-1"):
        assert MaskedLM.from_preset(str(tmp_path / "run" / name)).backbone.has_loaded_pooler


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"activation": "gelu"}, "activation relu there and gelu here; leave model.activation out"),
        ({"layer_norm_epsilon": 1e-12}, "layer_norm_epsilon 0.001 there and 1e-12 here"),
        ({"num_heads": 4}, "num_heads 2 there and 4 here"),
        ({"family": "roberta"}, "family bert there and roberta here"),
        ({"num_groups": 2}, "num_groups None there and 2 here"),
        ({"max_sequence_length": 32}, "has 40, got model.max_sequence_length 32"),
        ({"max_sequence_length": 32, "extend_positions": "repeat"}, "must be at least the 40 positions"),
    ],
)
def test_what_would_make_it_another_function_is_refused(said: dict[str, Any], message: str, preset: str) -> None:
    with pytest.raises(InputError, match=message):
        of_source(open_source(preset), ModelSettings(**said), 12)


def test_what_is_said_and_true_is_taken_and_dropout_may_be_another(preset: str) -> None:
    source = open_source(preset)
    true = ModelSettings("bert", num_layers=1, hidden_dim=16, activation="relu", dropout=0.0)
    assert of_source(source, true, 12).backbone["attention_dropout"] == 0.25
    other = of_source(source, ModelSettings(dropout=0.3), 12).backbone
    # One rate for all, as in a model from scratch.
    assert (other["dropout"], other["attention_dropout"]) == (0.3, None)


def test_longer_rows_are_refused_unless_positions_are_repeated(preset: str) -> None:
    with pytest.raises(InputError, match="has 40, got rows of 50 tokens; prepare rows of at most 40"):
        of_source(open_source(preset), ModelSettings(), 50)
    task = begun(preset, ModelSettings(extend_positions="repeat"), longest_row=90)
    before = MaskedLM.from_preset(preset)
    table, old = (np.asarray(one.backbone.position_embedding.position_embeddings) for one in (task, before))
    assert table.shape[0] == task.backbone.max_sequence_length == 90
    np.testing.assert_array_equal(table, np.concatenate([old, old, old[:10]]))
    rows = small_families.batch("bert")
    np.testing.assert_array_equal(np.asarray(task.masked_logits(rows)), np.asarray(before.masked_logits(rows)))


def test_the_dataset_must_be_of_the_presets_tokenizer(preset: str) -> None:
    source, own = open_source(preset), small_families.tokenizer("bert")
    check_tokenizer(source, own, "dataset")
    other = BertTokenizer([*own.get_vocabulary(), "more"], lowercase=True)
    with pytest.raises(InputError, match="must be prepared with the tokenizer of init_from, .* --tokenizer "):
        check_tokenizer(source, other, "dataset")


def test_a_classifiers_backbone_gets_a_fresh_head(tmp_path: Path) -> None:
    preprocessor = small_families.text_classifier_preprocessor("roberta")
    small_families.text_classifier("roberta", preprocessor).save_to_preset(str(tmp_path / "preset"))
    with pytest.warns(UserWarning, match="has no masked-LM head"):
        task = begun(str(tmp_path / "preset"))
    assert task.head_settings() == family_named("roberta").masked_lm.head_defaults


def test_a_configuration_names_the_activations_that_there_are() -> None:
    assert set(ACTIVATIONS) == set(KERAS_ACTIVATIONS)


def test_positions_may_be_more_than_the_rows_need(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"dataset": dataset[0], "directory": str(tmp_path / "run")}))
    small = [f"model.{name}" for name in ("num_layers=1", "num_heads=2", "hidden_dim=16", "intermediate_dim=32")]
    run = Run(load_config(tmp_path / "x.yaml", [*small, "model.max_sequence_length=64", "train.xla=false"]))
    assert run.task.backbone.max_sequence_length == 64
    assert run.task.preprocessor is not None and run.task.preprocessor.sequence_length == 32
    with pytest.raises(InputError, match="model.max_sequence_length must be at least the 32 tokens of a row, got 16"):
        Run(load_config(tmp_path / "x.yaml", [*small, "model.max_sequence_length=16"]))
    with pytest.raises(InputError, match="model.extend_positions is for the positions of init_from"):
        load_config(tmp_path / "x.yaml", ["model.extend_positions=repeat"])
