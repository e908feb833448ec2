"""The models of a run by their paths: `run`, `run/latest`, `run/best`, `run/step-500`, `run/checkpoints/step-00000500`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clozekit.model.training.run_directory.run_files import FINETUNE
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import read_owned
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS, MODEL, PRESET, checkpoint_name, split_run_path

if TYPE_CHECKING:
    # TensorFlow comes with it: here, and below, for checkpoints alone.
    from clozekit.model.training.run_directory.checkpoints import Saved

_CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class RunModel:
    """Where a model of a run is: the folder of a preset, and the checkpoint that has its weights; None: the preset has."""

    preset: str
    saved: "Saved | None" = None


def find_run_model(path: str) -> RunModel | None:
    """The model that a path into a run names; None where the path names no run.

    A run itself is its preset, or its newest checkpoint until it has one. `best` is the checkpoint with the lowest validation
    loss; of a fine-tuning, which keeps the best by its own metric, its preset. Raises InputError for a checkpoint that is
    not there or is damaged, and for a run that says nowhere what its model is.
    """
    run, name = split_run_path(path)
    folder = f"{run}/{CHECKPOINTS}"
    if not _is_there(folder, "isdir"):
        return None
    finished = f"{run}/{PRESET}"
    by_metric = name == "best" and getattr(read_owned(run), "made_by", None) == FINETUNE
    if (name == "" or by_metric) and _is_there(f"{finished}/{_CONFIG_FILE}"):
        return RunModel(finished)
    saved = _checkpoint(folder, name)
    described = f"{run}/{MODEL}"
    if not _is_there(f"{described}/{_CONFIG_FILE}"):
        raise InputError(
            f"a run must say what its model is, {described} has no {_CONFIG_FILE}; an earlier version made it: run it"
            " again for some steps, which writes that, or take its preset"
        )
    return RunModel(described, saved)


def run_of(path: str) -> str:
    """The run's folder in a path that names a model of it."""
    return split_run_path(path)[0]


def is_begun(run: str) -> bool:
    """Whether a run has a checkpoint and says what its model is."""
    from clozekit.model.training.run_directory.checkpoints import found_checkpoints

    return _is_there(f"{run}/{MODEL}/{_CONFIG_FILE}") and bool(found_checkpoints(f"{run}/{CHECKPOINTS}"))


def _is_there(path: str, ask: str = "isfile") -> bool:
    # Not TensorFlow: what presets are read with has said that this one is none, and knows more kinds of places.
    filesystem, name = open_file_system(path)
    return bool(getattr(filesystem, ask)(name))


def _checkpoint(folder: str, name: str) -> "Saved":
    from clozekit.model.training.run_directory.checkpoints import (
        DamagedCheckpointError,
        best_of,
        found_checkpoints,
        read_state,
    )

    step = checkpoint_name(name)
    if step is not None:
        path = f"{folder}/{step}"
        try:
            return read_state(path)
        except DamagedCheckpointError as error:
            known = ", ".join(str(one.step) for one in found_checkpoints(folder)) or "none"
            raise InputError(
                f"a checkpoint must be whole, {path} is not ({error}); the whole ones are of the steps {known}"
            ) from error
    found = found_checkpoints(folder)
    saved = best_of(found) if name == "best" else next(reversed(found), None)
    if saved is None:
        what = "one that was evaluated (best)" if name == "best" else "a whole one"
        raise InputError(
            f"a model needs a checkpoint, {folder} has not {what}; let the run go on until it has saved one"
        )
    return saved
