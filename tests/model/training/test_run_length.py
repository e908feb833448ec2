"""The length of a run: epochs and tokens become steps, a change replaces the file's, a run without validation warns."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from run_commands import run_command

from clozekit.model.training.run_length import describe_length, in_steps, short_count, steps_for
from clozekit.model.training.settings.finetune_settings import FinetuneTrainSettings, load_finetune_config
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import BatchRampSettings, PhaseSettings, RunSettings, TrainSettings
from clozekit.model.training.stages import stages_of
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError

# 4 rows in steps 0 and 1, 8 in steps 2 and 3, 12 from there on.
RAMP = BatchRampSettings(4, 4, 2)


@pytest.mark.parametrize(
    ("rows", "ramp", "steps"),
    [
        (1, None, 1),
        (12, None, 1),
        (13, None, 2),
        (0.1, None, 1),
        (8, RAMP, 2),
        (9, RAMP, 3),
        (24, RAMP, 4),
        (37, RAMP, 6),
    ],
)
def test_rows_become_steps(rows: float, ramp: BatchRampSettings | None, steps: int) -> None:
    train = TrainSettings(steps=1, global_batch_size=12, batch_ramp=ramp)
    assert steps_for(rows, train) == steps


def test_steps_of_a_ramp_read_what_was_asked_for() -> None:
    train = TrainSettings(steps=1, global_batch_size=12, batch_ramp=RAMP)
    for rows in range(1, 80):
        read = []
        for steps in (steps_for(rows, train) - 1, steps_for(rows, train)):
            config = RunSettings("data", "run", train=dataclasses.replace(train, steps=max(1, steps)))
            stages = stages_of(config) if steps else ()
            read.append(sum((one.end_step - one.first_step) * one.global_batch_size for one in stages))
        assert read[0] < rows <= read[1]


def test_epochs_and_tokens_become_steps_by_the_dataset(dataset: tuple[str, Manifest]) -> None:
    split = dataset[1].splits["train"]

    def steps(**length: float) -> int:
        config = in_steps(RunSettings(dataset[0], "run", train=TrainSettings(global_batch_size=8, **length)))  # type: ignore[arg-type]
        assert config.train.length == "steps"
        return config.train.last_step

    assert steps(epochs=3.0) == math.ceil(3 * split.rows / 8)
    assert steps(tokens=2 * split.tokens) == steps(epochs=2.0)
    assert steps(steps=17) == 17
    with pytest.raises(InputError, match=r"train.tokens must be less than 2\*\*31 steps"):
        steps(tokens=2**62)


def test_a_length_is_said_in_all_its_units(dataset: tuple[str, Manifest]) -> None:
    split = dataset[1].splits["train"]
    train = TrainSettings(steps=50, global_batch_size=8)
    stages = stages_of(RunSettings("here", "run", train=train))
    manifest = {"here": dataset[1]}
    tokens = f"{400 * split.tokens / split.rows:,.0f}"
    assert describe_length(train, stages, manifest) == f"50 steps = {400 / split.rows:.1f} epochs = {tokens} tokens"
    phases = TrainSettings(phases=(PhaseSettings(20, "here"), PhaseSettings(30, "there")), global_batch_size=8)
    stages = stages_of(RunSettings("here", "run", train=phases))
    assert describe_length(phases, stages, {**manifest, "there": dataset[1]}) == f"50 steps = {tokens} tokens"
    assert describe_length(TrainSettings(hours=1.5), (), {}) == "1.5 hours of training"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        *((0, "0"), (999_499, "999,499"), (999_500, "1.00M"), (12_345_678, "12.3M"), (655_360_000, "655M")),
        *((1.31e9, "1.31B"), (999_600_000, "1.00B"), (4.2e15, "4,200T")),
    ],
)
def test_counts_are_short(number: float, shown: str) -> None:
    assert short_count(number) == shown


def test_a_change_takes_the_place_of_the_length_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("dataset: data\ndirectory: run\ntrain: {steps: 100, global_batch_size: 8}\n", encoding="utf-8")
    assert load_config(path).train.steps == 100
    train = load_config(path, ["train.epochs=3"]).train
    assert (train.steps, train.epochs) == (None, 3.0)
    assert load_config(path, ["train.steps=7"]).train.steps == 7
    assert load_config(path, ["train.global_batch_size=4"]).train.steps == 100
    with pytest.raises(InputError, match="a run has one length"):
        load_config(path, ["train.epochs=3", "train.hours=2"])
    glue = load_finetune_config("glue/mrpc", ["init_from=p", "directory=d", "train.steps=70"]).train
    assert (glue.last_step(10**6), glue.epochs) == (70, None)
    # The name of the first version.
    glue = load_finetune_config("glue/mrpc", ["init_from=p", "directory=d", "epochs=5"]).train
    assert (glue.last_step(320), glue.epochs) == (50, 5.0)


def test_a_fine_tuning_has_one_length_too() -> None:
    assert FinetuneTrainSettings().last_step(320) == 30
    assert FinetuneTrainSettings(steps=7).last_step(320) == 7
    assert FinetuneTrainSettings(hours=1.0).last_step(320) == 2**31 - 1
    with pytest.raises(InputError, match="a run has one length, in train.epochs, train.steps or train.hours"):
        FinetuneTrainSettings(epochs=3.0, hours=1.0)


def test_a_run_without_a_validation_split_warns_and_trains(
    tmp_path: Path, tokenizer_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "one.txt"
    texts.write_text("the old cat sat on the mat . " * 60, encoding="utf-8")
    options = PrepareSettings(sequence_length=16, validation_rate=0.1, num_shards=1)
    manifest, _ = prepare(ReadSettings((str(texts),)), options, tokenizer_directory, str(tmp_path / "data"))
    assert set(manifest.splits) == {"train"}
    config = tmp_path / "config.yaml"
    small = "{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32}"
    config.write_text(f"dataset: {tmp_path}/data\ndirectory: {tmp_path}/run\nmodel: {small}\n", encoding="utf-8")
    rows = manifest.splits["train"].rows
    changes = ["train.epochs=2", "train.global_batch_size=4", "train.xla=false", "evaluate.every_steps=1"]
    screen = run_command(["train", str(config), *changes])
    steps = math.ceil(2 * rows / 4)
    assert f"length: {steps} steps = {4 * steps / rows:.1f} epochs = " in screen
    assert f"warning: {tmp_path}/data has no validation split, so nothing says how good the model gets" in screen
    assert "--document block or line" in screen and "validation loss" not in screen.splitlines()[-2]
    assert (tmp_path / "run" / "preset").is_dir() and (tmp_path / "run" / "report.html").is_file()
    # Done, it says nothing more of what can't be helped now.
    answer = run_command(["train", str(config), *changes, "--json"])
    assert json.loads(answer)["metrics"] == {}
