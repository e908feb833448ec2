"""The lineage of a preset by its name, as whoever begins from it or converts it writes it down."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clozekit.model.presets.checkpoint_lineage import checkpoint_lineage
from clozekit.model.presets.lineage import LINEAGE_FILE, Lineage, linked
from clozekit.model.presets.lineage_file import files_of, read_lineage
from clozekit.model.training.run_directory.run_models import RunModel, find_run_model
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.hub.open_preset import PresetFiles, open_preset
from clozekit.tokenizers.hub.preset_checksums import sha256_of
from clozekit.tokenizers.hub.preset_upload import MARKER_FILE

if TYPE_CHECKING:
    # TensorFlow comes with them: here, and below, for checkpoints and for what is loaded.
    from clozekit.model.presets.load_presets import PresetSource
    from clozekit.model.training.run_directory.checkpoints import Saved

# What everybody may look up.
_PUBLIC = ("hf://", "kaggle://")


@dataclass(frozen=True)
class Named:
    """What a name stands for: the files of a preset, or those of a run's model and the checkpoint with its weights."""

    files: PresetFiles
    saved: "Saved | None" = None

    def lineage(self) -> Lineage | None:
        """What it says of itself; None where it says nothing.

        Raises InputError for a `lineage.json` that is none or was changed, and for a checkpoint that is damaged.
        """
        found = read_lineage(self.files)
        return found if self.saved is None else _of_checkpoint(found, self.saved)


def find_named(preset: str | Path) -> Named:
    """The preset behind a name, handle, URL or directory, in any layout, or behind a path into a run. Raises InputError when
    there is none."""
    name = str(preset)
    may_be_of_run = "://" not in name and not Path(name).is_dir() and Path(name).parent.is_dir()
    found = find_run_model(name) if may_be_of_run else None
    if found is not None:
        return _of_run(found)
    files = open_preset(name)
    if not name.startswith(_PUBLIC) and all(
        files.path(one, required=False) is None for one in (LINEAGE_FILE, MARKER_FILE)
    ):
        found = find_run_model(name)
    return Named(files) if found is None else _of_run(found)


def _of_run(found: RunModel) -> Named:
    return Named(open_preset(found.preset), found.saved)


def lineage_of(preset: str | Path) -> Lineage:
    """The lineage of a preset that is begun from, learned from or converted.

    One that says nothing, or says it of other weights than it holds (then with a warning), is known by the hashes of its weights,
    and by its handle where that is public.

    Args:
        preset: a name, handle, URL, directory, or path into a run.

    Returns:
        What the preset says of itself; of a run's checkpoint the run's lineage and the hash of the checkpoint's weights.

    Raises:
        InputError: for a preset that can't be had.

    Example:

        >>> from clozekit.model.presets.named_lineage import lineage_of
        >>> foreign = lineage_of("tiny/preset")
        >>> foreign.link["what"], sorted(foreign.link["files"])
        ('preset', ['model.weights.h5', 'task.weights.h5'])
    """
    from clozekit.model.presets.checkpoint_preset import CheckpointPreset
    from clozekit.model.presets.keras_preset import TASK_WEIGHTS_FILE
    from clozekit.model.presets.load_presets import open_source

    source = open_source(preset)
    if isinstance(source, CheckpointPreset):
        return _of_checkpoint(_read(source), source.saved)
    weights = {path.name: sha256_of(path) for path in source.weight_files()}
    head = source.files.path(TASK_WEIGHTS_FILE, required=False)
    if head is not None:
        weights[TASK_WEIGHTS_FILE] = sha256_of(head)
    found = _read(source)
    if found is not None:
        written = files_of(found)
        if all(written.get(name) == sha256 for name, sha256 in weights.items()):
            return found
        warnings.warn(
            f"{LINEAGE_FILE} of {source.source} is of other weights than it holds, so it is left out (`clozekit lineage"
            f" {preset}` says more)",
            stacklevel=2,
        )
    name = BUILTIN_PRESETS[str(preset)].handle if str(preset) in BUILTIN_PRESETS else str(preset)
    handle = name.rstrip("/") if name.startswith(_PUBLIC) else None
    return linked("preset", {"handle": handle, "files": weights})


def _read(source: "PresetSource") -> Lineage | None:
    try:
        return read_lineage(source.files)
    except InputError as error:
        warnings.warn(f"{error}; without it nothing is said of what {source.source} came from", stacklevel=3)
        return None


def _of_checkpoint(run: Lineage | None, saved: "Saved") -> Lineage:
    from clozekit.model.training.run_directory.checkpoints import DamagedCheckpointError, read_model

    try:
        weights = read_model(saved)
    except DamagedCheckpointError as error:
        raise InputError(f"a checkpoint must be whole, {saved.path} is not ({error}); take another one") from error
    return checkpoint_lineage(run, saved.position, weights)
