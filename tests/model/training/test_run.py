"""A run: killed anywhere it goes on bit for bit, a damaged checkpoint is passed over, contradictions are refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helper_folder import HELPERS
from long_variants import FULL
from processes import started, wait_for_step

from clozekit.model import MaskedLM
from clozekit.model.families.family_table import family_named
from clozekit.model.training.controller import Run
from clozekit.model.training.datasets import check_family, check_splits
from clozekit.model.training.objectives.masked_lm_objective import Evaluator
from clozekit.model.training.run_directory.run_log import MEASURED, METRICS_FILE, MetricsLog, read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings, LogSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

# Dropout on: its random state must be restored too.
MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1)


def config_for(dataset: str, directory: Path, steps: int = 12, xla: bool = False, **changes: object) -> RunSettings:
    fields: dict[str, object] = {
        "model": MODEL,
        "train": TrainSettings(steps=steps, global_batch_size=8, steps_per_loop=2, xla=xla),
        "optimizer": OptimizerSettings(learning_rate=0.01),
        "checkpoint": CheckpointSettings(every_steps=4, keep=2),
        "evaluate": EvaluateSettings(every_steps=6, max_rows=32),
        "log": LogSettings(peak_teraflops=0.1, price_per_hour=3600.0),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})  # type: ignore[arg-type]


def curve(directory: Path) -> list[dict[str, object]]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in entry.items() if k not in MEASURED} for entry in read_metrics(directory / METRICS_FILE)]


@pytest.fixture(scope="module")
def uninterrupted(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted")
    Run(config_for(dataset[0], directory)).train()
    return directory


def test_the_log_and_the_files_of_a_run(uninterrupted: Path) -> None:
    entries = curve(uninterrupted)
    assert [entry["step"] for entry in entries if entry["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [entry["step"] for entry in entries if entry["kind"] == "validation"] == [6, 12]
    # The two newest, and the best, which is the newest here too.
    assert sorted(path.name for path in (uninterrupted / "checkpoints").iterdir()) == ["step-00000008", "step-00000012"]
    for name in ("train", "validation"):
        (events,) = (uninterrupted / "tensorboard" / name).iterdir()
        tags = {v.tag for record in tf.data.TFRecordDataset(str(events)) for v in event(record).summary.value}
        assert "loss" in tags
    config = (uninterrupted / "config.yaml").read_text(encoding="utf-8")
    assert "hidden_dim: 16" in config


def event(record: tf.Tensor) -> "tf.compat.v1.Event":
    return tf.compat.v1.Event.FromString(record.numpy())


KILLED = """
import sys
import threading
from pathlib import Path
sys.path += sys.argv[1].split(":")
from test_run import Run, config_for
from clozekit.model.training.training_loop import TrainingLoop

advance = TrainingLoop._advance

def advance_until_told(loop):
    trouble = advance(loop)
    if loop._position.global_step >= int(sys.argv[4]):
        threading.Event().wait()
    return trouble

TrainingLoop._advance = advance_until_told
Run(config_for(sys.argv[2], Path(sys.argv[3]), xla=True)).train()
"""


@pytest.mark.skipif(not FULL, reason="compiles in three processes; CLOZEKIT_FULL=1 runs it")
def test_killed_with_9_and_run_again_it_is_as_if_never_stopped_compiled_too(
    dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    """Without XLA, and at random places: see test_kills.py."""
    at_step = 6
    directory = tmp_path / "run"
    # It waits by itself after `at_step`, so that the kill always finds it in the middle.
    with started("-c", KILLED, f"{Path(__file__).parent}:{HELPERS}", dataset[0], str(directory), str(at_step)) as child:
        wait_for_step(directory, at_step, child)
        child.kill()
    assert not (directory / "preset").exists()
    uninterrupted = tmp_path / "whole"
    Run(config_for(dataset[0], uninterrupted, xla=True)).train()
    Run(config_for(dataset[0], directory, xla=True)).train()
    assert curve(directory) == curve(uninterrupted)
    a, b = (MaskedLM.from_preset(path / "preset").get_weights() for path in (directory, uninterrupted))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("damage", ["cut", "flip", "no state"] if FULL else ["flip"])
def test_a_damaged_checkpoint_is_passed_over(
    damage: str, dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted, directory)
    newest = directory / "checkpoints" / "step-00000012"
    (data,) = newest.glob("variables.data*")
    content = data.read_bytes()
    if damage == "no state":
        (newest / "state.json").unlink()
    else:
        data.write_bytes(content[:-9] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    Run(config_for(dataset[0], directory)).train()
    assert "damaged checkpoint left out: step-00000012" in capsys.readouterr().out
    # The damaged one is kept apart and does not count among the newest; one without its state file is an unfinished one.
    kept = sorted(path.name for path in (directory / "checkpoints").iterdir())
    apart = [] if damage == "no state" else ["step-00000012.damaged"]
    assert kept == ["step-00000008", "step-00000012", *apart]
    assert curve(directory) == curve(uninterrupted)


def test_a_run_goes_on_only_with_its_own_configuration(
    dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted, directory)
    with pytest.raises(InputError, match=r"goes on only with the settings .* \(seed was 0, is 1\)"):
        Run(config_for(dataset[0], directory, seed=1)).train()


def test_evaluation_divides_summed_loss_by_summed_count(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    run = Run(config_for(dataset[0], tmp_path / "run"))
    batches = run.evaluator._batches
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(b["mask_ids"], run.task.masked_logits(b)) for b in batches]
    weights = [b["mask_weights"] for b in batches]
    loss = sum(float(tf.reduce_sum(a * b)) for a, b in zip(losses, weights, strict=True)) / float(np.sum(weights))
    metrics = run.evaluator.run()
    assert metrics["loss"] == pytest.approx(loss, rel=1e-6)
    assert metrics["perplexity"] == pytest.approx(np.exp(loss), rel=1e-6)
    token_id, share = run.evaluator.commonest_token_accuracy()
    ids = np.concatenate([b["mask_ids"].numpy()[b["mask_weights"].numpy() > 0] for b in batches])
    assert share == (ids == token_id).mean() == max((ids == i).mean() for i in set(ids.tolist()))
    assert isinstance(run.evaluator, Evaluator)


def test_a_tokenizer_that_did_not_make_the_dataset_is_refused(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    other = BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    other.save(tmp_path / "other")
    with pytest.raises(InputError, match="must be the one the dataset was prepared with .* of 6 pieces"):
        Run(config_for(dataset[0], tmp_path / "run", tokenizer=str(tmp_path / "other")))


def test_a_dataset_of_another_family_is_refused(tokenizer: BertTokenizer) -> None:
    check_family(family_named("bert"), tokenizer)
    # Its files often name BERT's tokenizer, which gives the same ids.
    check_family(family_named("distil_bert"), tokenizer)
    with pytest.raises(
        InputError, match="needs a dataset of RobertaTokenizer, this one was prepared with BertTokenizer"
    ):
        check_family(family_named("roberta"), tokenizer)


def test_a_dataset_without_the_split_that_is_needed_is_refused(dataset: tuple[str, Manifest]) -> None:
    trains_only = dataclasses.replace(dataset[1], splits={"train": dataset[1].splits["train"]})
    check_splits(trains_only, "phase2", ("train",))
    with pytest.raises(InputError, match="data has no validation split; prepare it with more documents"):
        check_splits(trains_only, "data")
    with pytest.raises(InputError, match="phase2 has no train split"):
        check_splits(dataclasses.replace(dataset[1], splits={}), "phase2", ("train",))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_shard_that_is_damaged_stops_the_run_by_its_name(
    split: str, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    directory = shutil.copytree(dataset[0], tmp_path / "data")
    shard = directory / dataset[1].splits[split].shards[-1].name
    content = shard.read_bytes()
    shard.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(InputError, match="is damaged") as caught:
        Run(config_for(str(directory), tmp_path / "run")).train()
    assert shard.name in str(caught.value)


def test_a_preset_never_takes_the_place_of_something_else(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match="holds what Clozekit did not write there: thesis.txt"):
        Run(config_for(dataset[0], tmp_path / "run", preset=str(tmp_path / "mine")))
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_loss_that_is_no_number_stops_the_run(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    run = Run(config_for(dataset[0], tmp_path / "run"))
    embedding = run.task.backbone.token_embedding.embeddings
    embedding.assign(np.full(embedding.shape, np.nan))
    with pytest.raises(InputError, match="the validation loss must be a number, it is nan .* no checkpoint"):
        run.train()
    assert not (tmp_path / "run" / "preset").exists()


def test_a_log_cut_in_the_middle_of_a_line_is_mended(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "train", "step": step, "loss": 1.0}) for step in (1, 2, 3)]
    (tmp_path / METRICS_FILE).write_text("\n".join(lines) + '\n{"kind": "tr', encoding="utf-8")
    MetricsLog(tmp_path, global_step=2).close()
    assert [entry["step"] for entry in read_metrics(tmp_path / METRICS_FILE)] == [1, 2]


def test_changes_that_do_not_touch_the_course_may_change(
    dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path
) -> None:
    """Required to go on, it does."""
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted, directory)
    config = dataclasses.replace(
        config_for(dataset[0], directory), checkpoint=CheckpointSettings(every_steps=3, keep=1, resume="required")
    )
    Run(config).train()
    assert curve(directory) == curve(uninterrupted)


def test_resume_can_be_required_or_refused(dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path) -> None:
    required = CheckpointSettings(every_steps=4, resume="required")
    with pytest.raises(InputError, match="resume is required and .* holds no whole checkpoint"):
        Run(config_for(dataset[0], tmp_path / "empty", checkpoint=required)).train()
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted, directory)
    with pytest.raises(InputError, match="resume is never and .* holds checkpoints"):
        Run(config_for(dataset[0], directory, checkpoint=CheckpointSettings(resume="never"))).train()


def test_a_shard_deleted_while_training_costs_nothing_that_was_saved(
    dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(dataset[0], tmp_path / "data"))
    run = Run(config_for(str(data), tmp_path / "run"))
    shard = data / dataset[1].splits["train"].shards[0].name

    class Removing(type(run)):  # type: ignore[misc]
        def run_loop(self, batches: object, first_step: int, *others: object) -> object:
            result = super().run_loop(batches, first_step, *others)
            if first_step == 4:
                shard.unlink()
                # What was read ahead would serve the rest of this short run.
                raise_when_read = self.batches_from(0, 48, 6)
                super().run_loop(raise_when_read, first_step, *others)
            return result

    run.__class__ = Removing
    with pytest.raises(InputError, match="every shard of the manifest must be there") as caught:
        run.train()
    assert shard.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [saved.step for saved in run.checkpoints.found()] == [4]
    # Put back, the run ends as if nothing had been.
    shutil.copy(Path(dataset[0]) / shard.name, shard)
    Run(config_for(str(data), tmp_path / "run")).train()
    assert curve(tmp_path / "run") == curve(uninterrupted)


def test_the_log_says_what_the_run_costs(uninterrupted: Path) -> None:
    first, second = [e for e in read_metrics(uninterrupted / METRICS_FILE) if e["kind"] == "train"][:2]
    assert first.keys() >= MEASURED
    # One a second: at least what the steps took.
    assert second["cost"] - first["cost"] >= second["step_seconds"] * 2
    assert 0 < second["model_flops_utilization"] < 1
    assert 0 < second["useful_token_share"] <= 1
    assert 0 <= second["data_wait_share"] < 1
