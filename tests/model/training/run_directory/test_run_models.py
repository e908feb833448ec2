"""Every model of a run has a path: the run, its newest checkpoint, its best one, one of a step, of a stopped run too."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_commands import run_command

from clozekit.model import MaskedLM, TextClassifier
from clozekit.model.presets.load_presets import open_source
from clozekit.model.training.controller import Run
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.run_directory.checkpoint_state import state_from_json, state_to_json
from clozekit.model.training.run_directory.checkpoints import STATE_FILE
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, activation="relu")


def config_for(dataset: str, directory: Path, **changes: Any) -> RunSettings:
    fields: dict[str, Any] = {
        "model": MODEL,
        "train": TrainSettings(steps=6, global_batch_size=8, steps_per_loop=2, xla=False),
        "optimizer": OptimizerSettings(learning_rate=3e-3),
        "checkpoint": CheckpointSettings(every_steps=2, keep=9),
        "evaluate": EvaluateSettings(every_steps=2, max_rows=16),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


@pytest.fixture(scope="module")
def trained(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(config_for(dataset[0], tmp_path_factory.mktemp("models") / "run"))
    run.train()
    return run


@pytest.fixture(scope="module")
def stopped(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was stopped behind step 4."""
    directory = tmp_path_factory.mktemp("stopped") / "run"
    shutil.copytree(trained.directory, directory)
    shutil.rmtree(directory / "preset")
    shutil.rmtree(directory / "checkpoints" / "step-00000006")
    return directory


def weights_of(preset: str) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in MaskedLM.from_preset(preset, compile=False).get_weights()]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_tokenizer_of_a_run_is_found_by_the_same_paths(trained: Run, stopped: Path, tmp_path: Path) -> None:
    expected = trained.task.preprocessor.tokenizer.get_vocabulary()  # type: ignore[union-attr]
    for path in (trained.directory, f"{trained.directory}/checkpoints/best", f"{stopped}/latest", f"{stopped}/step-4"):
        assert load_tokenizer(path).get_vocabulary() == expected, path
        assert BertTokenizer.from_preset(path).get_vocabulary() == expected, path
    with pytest.raises(InputError, match="has no step-00000006; name another"):
        load_tokenizer(f"{stopped}/step-6")
    shutil.copytree(stopped, tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    with pytest.raises(InputError, match="pass the tokenizer of its dataset"):
        load_tokenizer(tmp_path / "run")


def test_the_paths_of_a_run_are_its_models(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained.directory
    last = weights_of(f"{run}/preset")
    for name in ("", "/", "/latest", "/checkpoints/latest", "/step-6", "/checkpoints/step-00000006"):
        assert equal(weights_of(run + name), last), name
    assert not equal(weights_of(f"{run}/step-2"), last)
    measured = {saved.step: saved.validation_loss for saved in trained.checkpoints.found()}
    assert min(measured, key=lambda step: measured[step] or 0.0) == 6
    assert equal(weights_of(f"{run}/best"), last)
    saved, loaded = MaskedLM.from_preset(f"{run}/preset"), MaskedLM.from_preset(f"{run}/latest")
    assert loaded.get_config() == saved.get_config()
    monkeypatch.chdir(run)
    assert equal(weights_of("latest"), last)
    assert equal(weights_of("checkpoints/step-6"), last)


def test_the_best_model_of_a_run_may_be_an_older_one(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.directory, tmp_path / "run")
    for step, loss in ((4, 1.0), (6, 9.0)):
        path = tmp_path / "run" / "checkpoints" / f"step-{step:08d}" / STATE_FILE
        path.write_text(
            state_to_json({**state_from_json(path.read_text(encoding="utf-8")), "validation_loss": loss}),
            encoding="utf-8",
        )
    best = weights_of(f"{tmp_path}/run/best")
    assert equal(best, weights_of(f"{trained.directory}/step-4"))
    assert not equal(best, weights_of(f"{tmp_path}/run"))


def test_a_stopped_run_is_a_model_for_every_verb(
    stopped: Path, dataset: tuple[str, Manifest], labelled: Path, tmp_path: Path
) -> None:
    newest = weights_of(str(stopped / "step-4"))
    assert equal(weights_of(str(stopped)), newest)
    assert "the" in run_command(["fill", str(stopped), "the [MASK] cat", "--top-k", "50"])
    assert '"rows": 8' in run_command(["evaluate", f"{stopped}/best", "--dataset", dataset[0], "--max-rows", "8"])
    run_command(["convert", f"{stopped}/latest", str(tmp_path / "hf"), "--to", "huggingface"])
    there, here = MaskedLM.from_preset(str(tmp_path / "hf")), MaskedLM.from_preset(str(stopped / "step-4"))
    # Without the pooler, which was never trained and stays behind.
    pairs = zip(there.trainable_weights, here.trainable_weights, strict=True)
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
    assert there.backbone.activation == "relu"


def test_a_run_begins_from_a_stopped_one_with_nothing_said(
    stopped: Path, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    config = config_for(dataset[0], tmp_path / "run", model=ModelSettings(), init_from=str(stopped / "latest"))
    run = Run(config)
    run.begin_anew()
    assert equal([np.asarray(weight) for weight in run.finished_task().get_weights()], weights_of(f"{stopped}/step-4"))
    assert (run.config.model.activation, run.config.model.hidden_dim) == ("relu", 16)


def test_it_goes_on_without_what_it_began_from(stopped: Path, dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "first")
    train = TrainSettings(steps=2, global_batch_size=8, steps_per_loop=2, xla=False)
    config = config_for(
        dataset[0], tmp_path / "run", model=ModelSettings(), init_from=str(tmp_path / "first"), train=train
    )
    Run(config).train()
    shutil.rmtree(tmp_path / "first")
    again = Run(config)
    assert again._begin().global_step == 2
    with pytest.raises(InputError, match="has hidden_dim 16 there and 32 here"):
        Run(config_for(dataset[0], tmp_path / "run", model=ModelSettings(hidden_dim=32), init_from="gone", train=train))


def test_the_checkpoints_of_a_fine_tuning_are_classifiers(trained: Run, labelled: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tuned"
    changes = [f"init_from={trained.directory}/best", f"directory={directory}", f"data.train={labelled}/train.tsv"]
    changes += [f"data.validation={labelled}/dev.tsv", "data.text=sentence", "data.label=label", "train.epochs=1"]
    changes += ["train.xla=false", "checkpoint.every_steps=2", "checkpoint.keep=9", "train.global_batch_size=32"]
    run = FinetuneRun(load_finetune_config(None, changes))
    run.train()
    best = TextClassifier.from_preset(f"{directory}/preset")
    for path in (f"{directory}/best", str(directory)):
        assert equal(TextClassifier.from_preset(path).get_weights(), best.get_weights())
    step = TextClassifier.from_preset(f"{directory}/step-2")
    assert step.labels == best.labels == ["happy", "sad"]
    assert not equal(step.get_weights(), best.get_weights())
    assert run_command(["predict", f"{directory}/latest", "the cat sat on the mat ."])


def test_what_is_no_model_of_a_run_is_said_in_a_line(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="step-00000006 is not .* the whole ones are of the steps 2, 4"):
        open_source(f"{stopped}/step-6")
    with pytest.raises(InputError, match="is no directory here"):
        open_source(f"{tmp_path}/best")
    empty = tmp_path / "empty"
    (empty / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="has not a whole one; let the run go on"):
        open_source(str(empty))
    damaged = tmp_path / "damaged"
    shutil.copytree(stopped, damaged)
    data = next((damaged / "checkpoints" / "step-00000004").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InputError, match="step-00000004 is not .* is cut off"):
        MaskedLM.from_preset(str(damaged))
    shutil.rmtree(damaged / "model")
    with pytest.raises(InputError, match="an earlier version made it"):
        open_source(f"{damaged}/step-2")
