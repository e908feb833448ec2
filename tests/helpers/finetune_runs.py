"""Fine-tunings on the labelled files of tests/model/training/conftest.py, and what their logs say but for the clock."""

from pathlib import Path
from typing import Any

from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.run_directory.run_log import MEASURED, METRICS_FILE, read_metrics
from clozekit.model.training.settings.finetune_settings import FinetuneSettings, load_finetune_config


def settings_of(preset: str, folder: Path, directory: Path, *changes: str) -> FinetuneSettings:
    """On train.tsv and dev.tsv, 10 steps an epoch."""
    given = [
        f"init_from={preset}",
        f"directory={directory}",
        f"data.folder={folder}",
        *("data.train=train.tsv", "data.validation=dev.tsv", "data.text=sentence", "data.label=label"),
        *("train.global_batch_size=16", "optimizer.learning_rate=0.02", "train.epochs=5", "train.xla=false", *changes),
    ]
    return load_finetune_config(None, given)


def run_of(preset: str, folder: Path, directory: Path, *changes: str) -> FinetuneRun:
    return FinetuneRun(settings_of(preset, folder, directory, *changes))


def curve(directory: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in entry.items() if k not in MEASURED} for entry in read_metrics(directory / METRICS_FILE)]
