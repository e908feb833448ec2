"""Trackers of a run, each read back by its own reader: one run there for one here, however often that was stopped."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import finetune_runs
import pytest
from recording import MADE, Recorder

from clozekit.model.training import Run
from clozekit.model.training.cluster.endings import StoppedError
from clozekit.model.training.finetuning import FinetuneRun
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings, LogSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.model.training.watching.callbacks import Watched
from clozekit.model.training.watching.tracker import Tracker, Tracking, trackers_of
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import MissingExtraError


def config_for(dataset: str, directory: Path, *trackers: str) -> RunSettings:
    return RunSettings(
        dataset,
        str(directory),
        name="the first one",
        model=ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32),
        train=TrainSettings(steps=8, global_batch_size=8, steps_per_loop=2, xla=False),
        checkpoint=CheckpointSettings(every_steps=4),
        evaluate=EvaluateSettings(every_steps=4, max_rows=32),
        log=LogSettings(trackers=trackers),
    )


def train_stopped_once(config: RunSettings, at_step: int = 6) -> None:
    """A run that a signal stopped in between, so that two starts made it."""
    with pytest.raises(StoppedError):
        Run(config, callbacks=[Recorder(at_step, "signal")]).train()
    Run(config).train()


def logged(directory: Path, kind: str, name: str) -> dict[int, float]:
    entries = [entry for entry in read_metrics(directory / METRICS_FILE) if entry["kind"] == kind]
    return {entry["step"]: entry[name] for entry in entries}


def wandb_records(folder: Path) -> list[Any]:
    """Of a file that W&B wrote offline, by its own messages. It is a log of LevelDB's behind seven bytes: blocks of 32 KiB of
    records, each with a checksum (4 bytes), a length (2) and whether it is whole, or a first, middle or last part (1)."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("*.wandb")
    content, place, parts, records = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records


def test_weights_and_biases_has_one_run_for_one_that_was_stopped(
    dataset: tuple[str, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    directory = tmp_path / "run"
    train_stopped_once(config_for(dataset[0], directory, "wandb"))
    folders = sorted((directory / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime_ns)
    assert len(folders) == 2
    ids, curves, settings = set(), [], {}
    for folder in folders:
        values: dict[int, float] = {}
        for record in wandb_records(folder):
            if record.HasField("run"):
                ids.add(record.run.run_id)
                assert (record.run.display_name, record.run.project) == ("the first one", "clozekit")
                settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if record.HasField("history"):
                items = {
                    (item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item
                }
                if "train/loss" in items:
                    values[items["step"]] = items["train/loss"]
        curves.append(values)
    (known,) = ids
    assert json.loads((directory / "trackers.json").read_text(encoding="utf-8")) == {"wandb": known}
    assert settings["train.steps"] == 8 and settings["model.hidden_dim"] == 16
    assert [sorted(values) for values in curves] == [[2, 4, 6], [8]]
    assert {**curves[0], **curves[1]} == pytest.approx(logged(directory, "train", "loss"))


def test_mlflow_has_one_run_for_one_that_was_stopped(
    dataset: tuple[str, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    directory = tmp_path / "run"
    train_stopped_once(config_for(dataset[0], directory, "mlflow"))
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("clozekit").experiment_id])
    assert json.loads((directory / "trackers.json").read_text(encoding="utf-8")) == {"mlflow": run.info.run_id}
    assert (run.info.run_name, run.info.status) == ("the first one", "FINISHED")
    assert run.data.params["train.steps"] == "8" and run.data.params["optimizer.name"] == "adamw"
    for kind in ("train", "validation"):
        history = client.get_metric_history(run.info.run_id, f"{kind}/loss")
        assert {metric.step: metric.value for metric in history} == pytest.approx(logged(directory, kind, "loss"))


class Broken(Tracker):
    """One whose server goes away after the first numbers; or is not there at all."""

    def __init__(self, is_there: bool) -> None:
        self._is_there = is_there
        self.steps: list[int] = []

    def begin(self, run: Watched, settings: Mapping[str, Any], known: str | None) -> str:
        if not self._is_there:
            raise ConnectionError("no route\nto it")
        return "a place"

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)
        if len(self.steps) > 1:
            raise ConnectionError("it went away")

    def end(self, ending: str) -> None:
        raise ConnectionError("still away")


@pytest.mark.slow
def test_a_tracker_that_fails_says_so_and_fine_tuning_goes_on(
    start_preset: str, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One of the user's own besides, named in the configuration.
    changes = ("train.epochs=2", "train.steps_per_loop=5", "log.trackers=[recording:recorder]")
    settings = finetune_runs.settings_of(start_preset, labelled, tmp_path, *changes)
    broken = Broken(is_there=True)
    MADE.clear()
    FinetuneRun(settings, callbacks=[Tracking("broken", broken)]).train()
    assert broken.steps == [5, 10]
    screen = capsys.readouterr().out
    failure = "warning: broken failed at step 10 (ConnectionError: it went away)"
    assert f"{failure}; training goes on, and nothing more is sent there until the run is started again" in screen
    assert f"{failure}: what came after it is in metrics.jsonl alone" in screen
    assert "warning: broken could not be closed (ConnectionError: still away)" in screen
    assert sorted(logged(tmp_path, "train", "loss")) == [5, 10, 15, 20]
    (recorder,) = MADE
    assert [entry[1] for entry in recorder.heard if entry[0] == "log"] == [5, 10, 15, 20]


def test_a_tracker_that_can_not_begin_is_refused_before_the_first_step(
    dataset: tuple[str, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(dataset[0], tmp_path / "run")
    with pytest.raises(
        InputError, match=r"broken is not \(ConnectionError: no route\); set it up, use its offline mode"
    ):
        Run(config, callbacks=[Tracking("broken", Broken(is_there=False))]).train()
    assert read_metrics(tmp_path / "run" / METRICS_FILE) == []
    with pytest.raises(InputError, match="log.trackers must be mlflow, wandb or module:function, got 'tensorboard'"):
        LogSettings(trackers=("tensorboard",))
    with pytest.raises(InputError, match="must name each once"):
        LogSettings(trackers=("wandb", "wandb"))
    with pytest.raises(InputError, match="recording:not_a_callback made a int"):
        trackers_of(("recording:not_a_callback",))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"the tracker wandb needs .*'clozekit\[wandb\]'"):
        trackers_of(("wandb",))
    # What is sent where decides nothing of the course of a run.
    assert dataclasses.replace(config, log=LogSettings(trackers=("wandb",))).course() == config.course()
