"""Which files of a run's directory are the run's own: what it may replace and remove there, and what is in its way."""

import os
import posixpath
import re
from collections.abc import Callable, Iterable

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.owned_files import (
    Owned,
    check_outside,
    in_the_way,
    is_temporary,
    list_files,
    read_owned,
    remove_files,
    shown,
    write_owned,
)
from clozekit.tokenizers.storage.run_paths import CHECKPOINTS

TRAIN, FINETUNE = "train", "finetune"
TRACKERS_FILE = "trackers.json"
CONFIG_FILE, METRICS_FILE, REPORT_FILE, RESULT_FILE = "config.yaml", "metrics.jsonl", "report.html", "result.json"
EVENTS, PREDICTIONS = "tensorboard", "predictions"
# In the names of our TensorBoard events, so that those of others in one folder are told apart.
EVENTS_SUFFIX = ".clozekit"
_NAMES = {
    TRAIN: (CONFIG_FILE, METRICS_FILE, REPORT_FILE, CHECKPOINTS, EVENTS, TRACKERS_FILE),
    FINETUNE: (CONFIG_FILE, METRICS_FILE, REPORT_FILE, CHECKPOINTS, EVENTS, TRACKERS_FILE, RESULT_FILE, PREDICTIONS),
}
_CHOOSE = "choose another `directory`"
_IN_CHECKPOINT = re.compile(r"state\.json|variables\.index|variables\.data-\d{5}-of-\d{5}(\.tempstate\d+)?")
_INSIDE = re.compile(
    rf"{CHECKPOINTS}/step-\d{{8}}(\.damaged(\.[0-9a-f]{{16}})?)?/({_IN_CHECKPOINT.pattern})"
    rf"|{EVENTS}/(train|validation)/events\.out\.tfevents\..+{re.escape(EVENTS_SUFFIX)}"
)


def name_of(directory: str) -> str:
    """What a run is called that was given no name: as its directory."""
    path = directory if "://" in directory else os.path.abspath(directory)
    return posixpath.basename(path.rstrip("/")) or "run"


def check_run_directory(directory: str, made_by: str, more: Iterable[str] = ()) -> None:
    """Raises InputError where a run would replace what it did not write. Notes, plots and logs of others may lie there.

    more: paths of what it writes besides what every run of its kind does.
    """
    check_outside("a run", directory, _CHOOSE)
    owned = read_owned(directory)
    names = [*_NAMES[made_by], *more]
    ours = owned if owned is not None and owned.made_by == made_by else None
    foreign = in_the_way(directory, names, ours)
    if foreign:
        raise InputError(
            f"a run replaces only what it wrote itself, {directory} holds {shown(foreign)}, which no `clozekit {made_by}`"
            f" wrote there; move that away, or {_CHOOSE}"
        )


def claim_run_directory(directory: str, made_by: str, more: Iterable[str] = ()) -> None:
    """Notes that what a run is going to write there is ours."""
    owned = read_owned(directory) or Owned(made_by)
    write_owned(directory, Owned(made_by, owned.names | {*_NAMES[made_by], *more}))


def remove_run(directory: str) -> None:
    """Removes what a run wrote into its directory, and nothing else: the directory stays the run's."""
    owned = read_owned(directory)
    if owned is not None:
        ours = [name for name in list_files(directory) if name in owned.names or _INSIDE.fullmatch(name)]
        remove_files(directory, [*ours, *(name for name in list_files(directory) if is_temporary(name))])


def is_of_checkpoint(name: str) -> bool:
    """Whether checkpoints consist of such files."""
    return _IN_CHECKPOINT.fullmatch(name) is not None


def remove_checkpoint(path: str) -> None:
    """Removes a checkpoint's files, its state first: what a kill leaves of it does not count."""
    _remove_inside(path, lambda name: name == "state.json")
    _remove_inside(path, lambda name: is_of_checkpoint(name) or is_temporary(name))


def remove_events(directory: str) -> None:
    """Removes the TensorBoard events of a run; they can't be taken back one by one."""
    for split in ("train", "validation"):
        _remove_inside(f"{directory}/{EVENTS}/{split}", lambda name: name.endswith(EVENTS_SUFFIX))


def _remove_inside(folder: str, is_ours: Callable[[str], bool]) -> None:
    # Whose file is whose is asked without it, before any work begins.
    import tensorflow as tf

    if not tf.io.gfile.isdir(folder):
        return
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    ours = [name for name in names if is_ours(name)]
    for name in ours:
        tf.io.gfile.remove(f"{folder}/{name}")
    if len(ours) == len(names):
        # A store has no empty folders; a local one holds nothing now.
        tf.io.gfile.rmtree(folder)
