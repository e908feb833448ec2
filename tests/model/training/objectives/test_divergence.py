"""A loss that goes wrong stops the run with its last good checkpoint named, or sends it back."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from poisoned_runs import poisoned

from clozekit.model.training.controller import Run
from clozekit.model.training.objectives.divergence import Watch, watch_loop
from clozekit.model.training.run_directory.checkpoints import Position
from clozekit.model.training.run_directory.run_log import METRICS_FILE, MetricsLog, read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings, DivergenceSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.model.training.training_loop import TrainingLoop
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.stop_signals import StopSignals

MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.0)


def watched(config: DivergenceSettings, losses: list[float | None]) -> tuple[Watch, list[str]]:
    """After loops of two steps and ten predictions with these mean losses; None: all skipped."""
    watch, reasons = Watch(), []
    for loss in losses:
        counted = (2, 0.0, 0.0) if loss is None else (0, 10 * loss, 10.0)
        watch, trouble = watch_loop(watch, config, 2, *counted)  # type: ignore[arg-type]
        if trouble is not None:
            reasons.append(f"{trouble.reason}, {trouble.num_steps} steps")
    return watch, reasons


def test_what_is_remembered_is_a_window() -> None:
    config = DivergenceSettings(window_steps=4)
    watch, reasons = watched(config, [9.0, 5.0, 3.0, 4.0, None])
    assert reasons == []
    # The last two loops of two steps; the lowest mean of two neighbours was 3.5, and of the last two 4 alone counts.
    assert watch == Watch(((2, 40.0, 10.0), (2, 0.0, 0.0)), 3.5, 2)
    assert Watch.from_json(dataclasses.asdict(watch)) == watch


@pytest.mark.parametrize(
    ("losses", "reasons"),
    [
        ([4.0, 4.0, 7.0, 7.0, 4.0], []),
        # One loop alone is no divergence: its window is.
        ([4.0, 4.0, 11.0, 4.0], []),
        (
            [4.0, 4.0, 9.0, 9.0],
            ["the loss must not leave 2.0 times its lowest mean over 4 steps, 4.000, it is 9.000, 4 steps"],
        ),
        ([5.0, None, None, 5.0, None, None], []),
        ([5.0, None, None, None], ["the gradients must be numbers, those of the last 6 steps were not, 6 steps"]),
    ],
)
def test_when_training_has_gone_wrong(losses: list[float | None], reasons: list[str]) -> None:
    assert watched(DivergenceSettings(num_bad_steps=6, window_steps=4), losses)[1] == reasons


def test_a_factor_of_none_watches_no_loss() -> None:
    assert watched(DivergenceSettings(loss_factor=None, window_steps=2), [1.0, 100.0])[1] == []


def config_for(dataset: str, directory: Path, **changes: Any) -> RunSettings:
    fields: dict[str, Any] = {
        "model": MODEL,
        "train": TrainSettings(steps=60, global_batch_size=8, steps_per_loop=2, xla=False),
        # Ten times what trains, after a warm-up that trains.
        "optimizer": OptimizerSettings(learning_rate=3.0, warmup_rate=1.0, clip_norm=100.0),
        "checkpoint": CheckpointSettings(every_steps=4, keep=20),
        "evaluate": EvaluateSettings(every_steps=100, max_rows=32),
        "divergence": DivergenceSettings(window_steps=6, loss_factor=1.5),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


def test_a_run_that_diverges_stops_and_can_be_begun_from_its_last_good_checkpoint(
    dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    run = Run(config_for(dataset[0], tmp_path / "run"))
    with pytest.raises(InputError, match="the loss must not leave 1.5 times .* the last good checkpoint is") as caught:
        run.train()
    text = str(caught.value)
    assert "\n" not in text
    named = text.split("the last good checkpoint is ")[1].split(";")[0]
    step = int(named.rsplit("-", 1)[1])
    logged = read_metrics(tmp_path / "run" / METRICS_FILE)
    # From before the window that showed it.
    assert 0 < step <= logged[-1]["step"] - 6
    assert Path(named).is_dir()
    changes = {"optimizer": OptimizerSettings(learning_rate=0.01), "train": TrainSettings(steps=2, xla=False)}
    again = Run(config_for(dataset[0], tmp_path / "again", init_from=named, **changes))
    again.train()
    # Its own checkpoints come first from now on.
    assert again._begin().global_step == 2
    anew = Run(config_for(dataset[0], tmp_path / "anew", init_from=named, **changes))
    assert anew._begin() == Position()
    values = run.checkpoints.at(step)[1]
    assert all((values[f"model/{weight.path}"] == np.asarray(weight)).all() for weight in anew.task.weights)
    with pytest.raises(InputError, match="has hidden_dim 16 there and 32 here; leave model.hidden_dim out"):
        other = dataclasses.replace(MODEL, hidden_dim=32)
        Run(config_for(dataset[0], tmp_path / "other", init_from=named, model=other))


def test_going_back_leaves_out_the_rows_and_gives_up_in_the_end(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    divergence = DivergenceSettings(window_steps=6, loss_factor=1.5, action="go_back", max_returns=2)
    config = config_for(dataset[0], tmp_path / "run", divergence=divergence)
    with pytest.raises(InputError, match="after going back 2 times"):
        Run(config).train()
    entries = read_metrics(tmp_path / "run" / METRICS_FILE)
    events = [entry for entry in entries if entry["kind"] == "event"]
    assert 1 <= len(events) <= 2
    for event in events:
        # The steps since the checkpoint, of eight rows each.
        assert event["rows_left_out"] >= 8 * (event["from_step"] - (event["step"] - 1))
        assert event["rows_left_out"] % 8 == 0
    # Every step is logged once.
    steps = [entry["step"] for entry in entries if entry["kind"] == "train"]
    assert steps == sorted(set(steps))


def test_behind_the_bad_rows_training_goes_on(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    config = config_for(
        dataset[0],
        tmp_path,
        optimizer=OptimizerSettings(learning_rate=0.01),
        train=TrainSettings(steps=30, global_batch_size=8, steps_per_loop=2, xla=False),
        divergence=DivergenceSettings(num_bad_steps=4, action="go_back"),
    )
    run = poisoned(Run, range(100, 150))(config)
    log = MetricsLog(tmp_path, 0)
    loop = TrainingLoop(run, Position(), log, StopSignals())
    loop.train()
    log.close()
    run.checkpoints.wait()
    entries = read_metrics(tmp_path / METRICS_FILE)
    # Steps 13 to 16 were the first that were skipped: back to 12, then the rest of the bad rows, back again.
    events = [entry for entry in entries if entry["kind"] == "event"]
    assert [(event["step"], event["from_step"], event["rows_left_out"]) for event in events] == [
        (13, 16, 32),
        (13, 16, 64),
    ]
    assert all(entry["skipped_steps"] == 0 for entry in entries if entry["kind"] == "train")
    saved, _, _ = run.checkpoints.newest()
    assert saved is not None
    assert saved.position == dataclasses.replace(
        saved.position, global_step=30, next_row=30 * 8 + 64, rows_left_out=64, num_returns=2
    )
