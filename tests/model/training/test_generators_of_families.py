"""`objective: replaced` in other families than ELECTRA: trained, killed and gone on with, converted, begun from, evaluated."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
from long_variants import FULL

from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import convert
from clozekit.model import Backbone, MaskedLM, ReplacedTokenDetector
from clozekit.model.training.controller import Run
from clozekit.model.training.evaluate_preset import evaluate_dataset
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
from clozekit.model.training.settings.replaced_settings import ReplacedSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError

pytestmark = pytest.mark.slow
# ELECTRA's runs are those of objectives/test_replaced_objective.py, DeBERTa V3's that of its recipe.
# With an embedding that the two share, and with tables of their own.
SHARING = [(name, False) for name in families.NAMES if name != "electra"] + [("roberta", True), ("albert", True)]
TRAINED = [*SHARING, ("modern_bert", True)] if FULL else [("modern_bert", True)]


def config_for(dataset: str, directory: Path, family: str | None, **changes: Any) -> RunSettings:
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "dropout": 0.1}
    sizes |= {"embedding_dim": 8} if family == "albert" else {}
    fields = {
        "objective": "replaced",
        "model": ModelSettings(family, **sizes) if family else ModelSettings(),
        "train": TrainSettings(steps=4, global_batch_size=8, micro_batch_size=4, steps_per_loop=2, xla=False),
        "optimizer": OptimizerSettings(learning_rate=0.01, ema_decay=0.5),
        "checkpoint": CheckpointSettings(every_steps=2, keep=99, background=False),
        "evaluate": EvaluateSettings(every_steps=2, max_rows=8),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


@pytest.fixture(scope="module")
def trained(
    request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, Path]:
    """A family, its dataset, and a run on it."""
    (family, is_disentangled), folder = request.param, tmp_path_factory.mktemp("generators")
    families.tokenizer(family).save(folder / "tokenizer")
    options = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=1)
    prepare(ReadSettings((str(corpus),)), options, str(folder / "tokenizer"), str(folder / "data"))
    replaced = ReplacedSettings(disentangled=is_disentangled or None)
    Run(config_for(str(folder / "data"), folder / "run", family, replaced=replaced)).train()
    return family, str(folder / "data"), folder / "run"


def curve(directory: Path) -> list[dict[str, Any]]:
    left_out = ("seconds", "memory", "tokens_per", "rows_per", "wait", "mfu", "flops", "cost", "steps_per")
    return [
        {name: value for name, value in entry.items() if not any(word in name for word in left_out)}
        for entry in read_metrics(directory / METRICS_FILE)
    ]


def same_weights(a: Any, b: Any) -> bool:
    return all((x == y).all() for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.parametrize("trained", TRAINED, indirect=True)
def test_a_run_trains_both_and_its_preset_holds_both(trained: tuple[str, str, Path], tmp_path: Path) -> None:
    family, dataset, directory = trained
    config = load_config(directory / "config.yaml")
    assert config.replaced is not None
    # Half the blocks and the same width where nothing projects the embeddings.
    shares = (0.25, 1.0) if family == "albert" else (1.0, 0.5)
    assert (config.replaced.generator_size, config.replaced.generator_layers) == shares
    preset = str(directory / "preset")
    again = config_for(dataset, tmp_path / "fresh", family, replaced=config.replaced)
    task, fresh = MaskedLM.from_preset(preset), Run(again).task
    assert task.is_disentangled == config.replaced.disentangled == fresh.is_disentangled
    for table, own in task.differing_tables():
        assert not np.array_equal(table, own)
    assert task.generator.num_layers == (2 if family == "albert" else 1)
    assert task.generator.hidden_dim == (4 if family == "albert" else 16)
    parts = (task.generator.weights, task.detection_variables(), task.masked_lm_head.weights)
    fresh_parts = (fresh.generator.weights, fresh.detection_variables(), fresh.masked_lm_head.weights)
    for ours, before in zip(parts, fresh_parts, strict=True):
        size = task.backbone.vocabulary_size
        moved = [not np.array_equal(a, np.asarray(b)[:size]) for a, b in zip(ours, before, strict=True)]
        assert all(moved), [one.path for one, has_moved in zip(ours, moved, strict=True) if not has_moved]


@pytest.mark.skipif(not FULL, reason="ELECTRA's run is resumed in every set of tests")
@pytest.mark.parametrize("trained", TRAINED, indirect=True)
def test_a_run_that_was_killed_goes_on_bit_for_bit(trained: tuple[str, str, Path], tmp_path: Path) -> None:
    _, _, whole = trained
    shutil.copytree(whole, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "preset")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000004")
    Run(dataclasses.replace(load_config(whole / "config.yaml"), directory=str(tmp_path / "again"))).train()
    assert curve(tmp_path / "again") == curve(whole)
    for name in ("model.weights.h5", "task.weights.h5"):
        one, other = (place / "preset" / name for place in (whole, tmp_path / "again"))
        assert one.read_bytes() == other.read_bytes(), name
    # A checkpoint is a model, both halves of it.
    latest, preset = (MaskedLM.from_preset(str(tmp_path / "again" / name)) for name in ("step-2", "preset"))
    assert latest.head_settings() == preset.head_settings() and not same_weights(latest, preset)


@pytest.mark.parametrize("trained", TRAINED, indirect=True)
def test_what_convert_wrote_of_both_is_gone_on_with(
    trained: tuple[str, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family, dataset, directory = trained
    task, there = MaskedLM.from_preset(str(directory / "preset")), tmp_path / "there"
    converted = convert(str(directory / "preset"), str(there), "huggingface")
    assert any(f"transformers has no discriminator of the family {family}" in note for note in converted.notes)
    assert 'AutoModel.from_pretrained("' in converted.load_with and 'subfolder="generator"' in converted.load_with
    assert same_weights(MaskedLM.from_preset(str(there / "generator")).backbone, task.generator_alone().backbone)
    detector, rows = ReplacedTokenDetector.from_preset(str(there)), families.batch(family)
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    assert np.array_equal(detector(inputs), task.detection_logits(inputs))
    halves = ReplacedSettings(generator=str(there / "generator"), disentangled=task.is_disentangled)
    config = config_for(dataset, tmp_path / "both", None, init_from=str(there), replaced=halves)
    begun = Run(config)
    begun.begin_anew()
    size = task.backbone.vocabulary_size
    found = np.asarray(begun.task.masked_logits(rows))[..., :size]
    np.testing.assert_allclose(found, task.masked_logits(rows), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(begun.task.detection_logits(rows), task.detection_logits(rows), rtol=1e-4, atol=1e-5)
    # The discriminator alone: a fresh generator and a fresh head.
    shares = ReplacedSettings(disentangled=task.is_disentangled)
    body = Run(config_for(dataset, tmp_path / "body", None, init_from=str(there), replaced=shares))
    with pytest.warns(UserWarning, match="has no masked-LM head"):
        body.begin_anew()
    table = np.asarray(body.task.backbone.token_embedding.embeddings)[:size]
    assert np.array_equal(table, task.backbone.token_embedding.embeddings)
    # Its embeddings begin as those of the body.
    for part in body.task.backbone.embedding_parts:
        assert same_weights(getattr(body.task.generator, part), getattr(body.task.backbone, part))
    assert not np.allclose(body.task.detection_logits(rows), task.detection_logits(rows))
    words = [f"dataset={dataset}", f"directory={tmp_path / 'dry'}", f"init_from={there}", "objective=replaced"]
    assert main(["train", *words, "train.steps=2", "train.global_batch_size=8", "train.xla=false", "--dry-run"]) == 0
    assert "masked tokens by a generator of" in capsys.readouterr().out


@pytest.mark.parametrize("trained", TRAINED, indirect=True)
def test_verbs_take_both_or_one_of_the_two(trained: tuple[str, str, Path], tmp_path: Path) -> None:
    family, dataset, directory = trained
    preset = str(directory / "preset")
    measured = evaluate_dataset(preset, dataset, EvaluatePresetSettings(xla=False, max_rows=8))
    last = [entry for entry in curve(directory) if entry["kind"] == "validation"][-1]
    for name in ("loss", "detection_loss", "detection_auc", "replaced_share"):
        assert measured[name] == pytest.approx(last[name], rel=1e-4, abs=1e-4), name
    task = MaskedLM.from_preset(preset)
    mask = families.tokenizer(family).mask_token
    assert len(task.fill_mask(f"the {mask} dog", top_k=2)[0]) == 2
    other = ReplacedSettings(disentangled=not task.is_disentangled)
    told = "of its own" if task.is_disentangled else "that its discriminator shares"
    with pytest.raises(
        InputError, match=f"replaced.disentangled must be .* has embeddings {told}; leave it out, or null"
    ):
        Run(config_for(dataset, tmp_path / "other", None, init_from=preset, replaced=other))
    with pytest.raises(InputError, match="holds a generator and its discriminator, which objective=replaced trains"):
        Run(config_for(dataset, tmp_path / "alone", None, init_from=preset, objective=None))
    with pytest.raises(InputError, match="a generator and its discriminator are two models, onnx holds one"):
        convert(preset, str(tmp_path / "onnx"), "onnx")
    if family in families.IN_KERAS_HUB:
        name = families.family(family).masked_lm.__name__
        told = f"KerasHub loads the backbone and the tokenizer of this {name}, not its head"
        assert convert(preset, str(tmp_path / "hub"), "keras_hub").notes[-1] == told
    wider = ReplacedSettings(generator_size=0.5)
    if family not in families.WITH_PROJECTION:
        with pytest.raises(InputError, match="replaced.generator_size must be 1 where embeddings are not projected"):
            Run(config_for(dataset, tmp_path / "narrow", family, replaced=wider))
    assert same_weights(Backbone.from_preset(preset), task.backbone)
