"""What the run behind a preset says of it: configuration, measures, dataset. Places on this machine stay out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozekit.model.training.run_directory.checkpoints import found_checkpoints
from clozekit.model.training.run_directory.run_files import (
    CONFIG_FILE,
    FINETUNE,
    METRICS_FILE,
    RESULT_FILE,
    TRAIN,
)
from clozekit.model.training.run_directory.run_log import Entry, read_metrics
from clozekit.model.training.run_directory.run_models import find_run_model, run_of
from clozekit.pipelines.dataset.manifest import Manifest, has_manifest, read_manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.settings.settings_files import read_mapping
from clozekit.tokenizers.storage.file_systems import is_url, open_file_system, read_text
from clozekit.tokenizers.storage.owned_files import read_owned
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS, PRESET

# Keys whose values are places or names of files.
_PLACES = (
    *("dataset", "directory", "tokenizer", "preset", "init_from", "teacher", "generator"),
    *("train", "validation", "test"),
)


@dataclass(frozen=True)
class RunFacts:
    """kind: "train" or "finetune"; config: its settings, without folders; step: of the model; entries: of the log up to there;
    manifest: of the dataset, None where it is not at hand or another one by now; measures: of a fine-tuning's result."""

    kind: str
    config: Mapping[str, Any]
    step: int | None
    entries: tuple[Entry, ...]
    manifest: Manifest | None
    measures: Mapping[str, Mapping[str, float]]

    def last(self, kind: str) -> Entry:
        """The last entry of a kind, or an empty one."""
        return next((entry for entry in reversed(self.entries) if entry["kind"] == kind), {})


def facts_of(preset: str) -> RunFacts | None:
    """What is known of the run that made a preset or has the checkpoint; None where no run is at hand."""
    if preset.startswith(("hf://", "kaggle://")):
        return None
    found = find_run_model(preset)
    run = run_of(preset) if found is not None else _run_beside(preset.rstrip("/"))
    if run is None:
        return None
    owned = read_owned(run)
    if owned is None or owned.made_by not in (TRAIN, FINETUNE) or not _is_file(f"{run}/{CONFIG_FILE}"):
        return None
    config = read_mapping(f"{run}/{CONFIG_FILE}")
    entries = read_metrics(f"{run}/{METRICS_FILE}")
    saved = found.saved if found is not None else None
    step = saved.step if saved is not None else max((entry["step"] for entry in entries), default=None)
    measures = _result(run) if owned.made_by == FINETUNE and saved is None else {}
    if measures:
        # The best weights of a fine-tuning are the preset, not the last ones.
        step = _best_step(run) or step
    kept = tuple(entry for entry in entries if step is None or entry["step"] <= step)
    manifest = _dataset(run, config) if owned.made_by == TRAIN else None
    return RunFacts(owned.made_by, without_places(config), step, kept, manifest, measures)


def _run_beside(preset: str) -> str | None:
    """The run whose finished preset lies at `preset`: `run/preset`, or what `adapt` and `demo` write beside their run."""
    parent, _, name = preset.rpartition("/")
    parent = parent or "."
    for run in (parent, f"{parent}/run"):
        if not _is_file(f"{run}/{CONFIG_FILE}") or read_owned(run) is None:
            continue
        told = read_mapping(f"{run}/{CONFIG_FILE}").get("preset")
        if (told is None and run == parent and name == PRESET) or (
            isinstance(told, str) and told.rstrip("/").rpartition("/")[2] == name
        ):
            return run
    return None


def _is_file(path: str) -> bool:
    filesystem, name = open_file_system(path)
    return bool(filesystem.isfile(name))


def _result_of(run: str) -> Mapping[str, Any]:
    path = f"{run}/{RESULT_FILE}"
    return parse_object(read_text(path), path) if _is_file(path) else {}


def _result(run: str) -> Mapping[str, Mapping[str, float]]:
    metrics = _result_of(run).get("metrics")
    return metrics if isinstance(metrics, dict) else {}


def _best_step(run: str) -> int | None:
    step = _result_of(run).get("best_step")
    return step if isinstance(step, int) else None


def _dataset(run: str, config: Mapping[str, Any]) -> Manifest | None:
    """The manifest of the run's dataset where it is still the same one."""
    told = config.get("dataset")
    if not isinstance(told, str):
        return None
    name = told.rstrip("/").rpartition("/")[2]
    beside = f"{run.rstrip('/').rpartition('/')[0] or '.'}/{name}"
    saved = found_checkpoints(f"{run}/{CHECKPOINTS}")
    known = saved[-1].state["run"].get("dataset_sha256") if saved else None
    for place in dict.fromkeys([told, beside] if is_url(told) or Path(told).is_absolute() else [beside, told]):
        try:
            manifest = read_manifest(place) if has_manifest(place) else None
        except InputError:
            manifest = None
        if manifest is not None and known in (None, manifest.dataset_sha256):
            return manifest
    return None


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the last part alone of whatever names a place here; handles of hubs stay whole."""
    return {key: _without_place(value, key in _PLACES) for key, value in settings.items()}


def _without_place(value: Any, is_place: bool) -> Any:
    if isinstance(value, Mapping):
        return without_places(value)
    if isinstance(value, list | tuple):
        return [_without_place(one, is_place) for one in value]
    if not isinstance(value, str) or value.startswith(("hf://", "kaggle://")):
        return value
    return value.rstrip("/").rpartition("/")[2] if is_place or "/" in value else value
