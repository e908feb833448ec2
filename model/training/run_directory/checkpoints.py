"""Checkpoints: a folder each, on a disk or at a URL, that counts once its state file, written last, is there."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from clozekit.model.training.objectives.divergence import Watch
from clozekit.model.training.run_directory.checkpoint_state import state_from_json, state_to_json
from clozekit.model.training.run_directory.run_files import is_of_checkpoint, remove_checkpoint
from clozekit.model.training.run_directory.small_files import read_text, write_text
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.owned_files import new_id

STATE_FILE, _VARIABLES = "state.json", "variables"
_NAME = re.compile(r"step-(\d{8})")


class Head(NamedTuple):
    """A head of a stream that a run adopted: at which step and row of the run, and which fragment it is."""

    step: int
    row: int
    number: int
    sha256: str


@dataclass(frozen=True)
class Position:
    """Where a run stands: steps done, row number over all epochs, real tokens seen, rows left out when it went back and
    how often it did, hours it took (in seconds), what is watched of the loss, and the heads of the stream that it follows."""

    global_step: int = 0
    next_row: int = 0
    tokens_seen: int = 0
    rows_left_out: int = 0
    num_returns: int = 0
    used_seconds: float = 0.0
    watch: Watch = field(default_factory=Watch)
    heads: tuple[Head, ...] = ()


@dataclass(frozen=True)
class Saved:
    """A finished checkpoint: where it lies, and what its state file says."""

    path: str
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["position"]["global_step"])

    @property
    def validation_loss(self) -> float | None:
        return self.state.get("validation_loss")

    @property
    def position(self) -> Position:
        fields = dict(self.state["position"])
        heads = tuple(Head(*head) for head in fields.get("heads", ()))
        return Position(**{**fields, "watch": Watch.from_json(fields["watch"]), "heads": heads})


class DamagedCheckpointError(ValueError):
    """A checkpoint is not what was written; the message says in what way."""


class Checkpoints:
    """The checkpoints of one run: saving, pruning, finding the newest whole one.

    directory: a path or a URL that TensorFlow's file systems know (gs://). variables: name -> what a checkpoint holds.
    identity: what has to be the same for a run to go on. In a cluster only the chief may save; all may load.
    """

    def __init__(
        self,
        directory: str,
        variables: Mapping[str, tf.Variable],
        identity: Mapping[str, Any],
        keep: int,
        keep_best: bool = False,
        background: bool = False,
    ) -> None:
        self.directory = directory.rstrip("/")
        self._variables = variables
        self._identity = identity
        self._keep, self._keep_best = keep, keep_best
        self._writer = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._pending: Future[None] | None = None
        self._written: list[str] = []

    def save(self, position: Position, validation_loss: float | None = None) -> str:
        """Writes the checkpoint of `position` and removes those that are not kept; returns its path.

        In the background the state is copied now and written later: `wait` waits for it, and an error comes up in the
        next call of either. Raises OSError when it can't be written; earlier checkpoints stay as they are.
        """
        self.wait()
        values = {name: variable.numpy() for name, variable in self._variables.items()}
        state = {
            "run": dict(self._identity),
            "position": dataclasses.asdict(position),
            "validation_loss": validation_loss,
        }
        target = f"{self.directory}/step-{position.global_step:08d}"
        if self._writer is None:
            self._write(target, values, state)
        else:
            self._pending = self._writer.submit(self._write, target, values, state)
        return target

    def wait(self) -> None:
        """Returns when nothing is being written any more; raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def take_written(self) -> list[tuple[int, str]]:
        """(step, path) of those that were written whole since this was last asked."""
        written = [self._written.pop(0) for _ in range(len(self._written))]
        return [(int(path.rsplit("-", 1)[-1]), path) for path in written]

    def _write(self, target: str, values: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        try:
            self._remove_unfinished()
            # One that stands there is of a course that was left: first it must stop to count.
            remove_checkpoint(target)
            tf.io.gfile.makedirs(target)
            tf.raw_ops.SaveV2(
                prefix=f"{target}/{_VARIABLES}",
                tensor_names=list(values),
                shape_and_slices=[""] * len(values),
                tensors=list(values.values()),
            )
            names = sorted(name for name in tf.io.gfile.listdir(target) if is_of_checkpoint(name))
            files = {name: tf.io.gfile.stat(f"{target}/{name}").length for name in names}
            write_text(f"{target}/{STATE_FILE}", state_to_json({**state, "files": files}))
            self._written.append(target)
            self._prune()
        except (tf.errors.OpError, OSError) as error:
            reason = " ".join(str(getattr(error, "message", error)).split())
            saved = self.found()
            raise OSError(
                f"a checkpoint must be written whole, {target} could not be ({reason[:300]}); the last whole one is"
                f" {saved[-1].path if saved else 'none'}; make room, or free the path, and run again to go on from it"
            ) from error

    def _remove_unfinished(self) -> None:
        for name in self._names():
            if not tf.io.gfile.exists(f"{self.directory}/{name}/{STATE_FILE}"):
                remove_checkpoint(f"{self.directory}/{name}")

    def _prune(self) -> None:
        saved = self.found()
        kept = {one.path for one in saved[-self._keep :]}
        best = best_of(saved)
        if self._keep_best and best is not None:
            kept.add(best.path)
        for one in saved:
            if one.path not in kept:
                remove_checkpoint(one.path)

    def _names(self) -> list[str]:
        return names_of_checkpoints(self.directory)

    def found(self) -> list[Saved]:
        """The finished checkpoints whose state can be read, the oldest first."""
        return found_checkpoints(self.directory)

    def _state(self, name: str) -> Saved:
        return read_state(f"{self.directory}/{name}")

    def newest(self, at_most_step: int | None = None) -> tuple[Saved | None, dict[str, np.ndarray], list[str]]:
        """The newest whole checkpoint, its values, and what is wrong with newer ones.

        Raises InputError when it belongs to a run of other settings or another dataset.
        """
        problems: list[str] = []
        for name in reversed(self._names()):
            try:
                saved = self._state(name)
                if at_most_step is not None and saved.step > at_most_step:
                    continue
                self._check_identity(saved)
                return saved, self._values(saved), problems
            except DamagedCheckpointError as error:
                problems.append(str(error))
        return None, {}, problems

    def at(self, step: int) -> tuple[Saved, dict[str, np.ndarray]]:
        """The checkpoint of `step`, which the chief chose. Raises InputError when this worker can't read it."""
        try:
            saved = self._state(f"step-{step:08d}")
            return saved, self._values(saved)
        except DamagedCheckpointError as error:
            raise InputError(
                f"every worker must see the run's `directory`, the chief goes on from step {step} in {self.directory}"
                f" and here it can't be read ({error}); put it on a file system that all workers share"
            ) from error

    def _check_identity(self, saved: Saved) -> None:
        before, now = saved.state["run"], self._identity
        # Of a group that is not there any more, too.
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        differing = [f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys]
        if differing:
            raise InputError(
                f"a run goes on only with the settings and the dataset it began with, {saved.path} has others"
                f" ({', '.join(differing)}); restore them, or begin anew in another `directory` (with init_from to take"
                " its weights along)"
            )

    def _values(self, saved: Saved) -> dict[str, np.ndarray]:
        """Name -> value of what a run's variables need, none of them assigned yet."""
        return read_values(saved, {name: variable_kind(variable) for name, variable in self._variables.items()})

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        for name, variable in self._variables.items():
            variable.assign(values[name])

    def set_aside(self, problems: list[str]) -> None:
        """Renames the damaged checkpoints, so that they don't count among the newest that are kept."""
        for problem in problems:
            path = f"{self.directory}/{problem.split(':')[0]}"
            if tf.io.gfile.exists(f"{path}/{STATE_FILE}"):
                aside = f"{path}.damaged"
                remove_checkpoint(aside)
                # Somebody may have put a file of his own into the one before.
                tf.io.gfile.rename(path, f"{aside}.{new_id()}" if tf.io.gfile.exists(aside) else aside)

    def remove_after(self, step: int) -> None:
        """Removes the checkpoints of later steps: their course is left."""
        for saved in self.found():
            if saved.step > step:
                remove_checkpoint(saved.path)


def names_of_checkpoints(directory: str) -> list[str]:
    """Names of the folders of checkpoints, finished or not, the oldest first."""
    if not tf.io.gfile.isdir(directory):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(directory))
    return sorted(name for name in names if _NAME.fullmatch(name))


def found_checkpoints(directory: str) -> list[Saved]:
    """The finished checkpoints in a folder of them whose state can be read, the oldest first."""
    found = []
    for name in names_of_checkpoints(directory):
        try:
            found.append(read_state(f"{directory}/{name}"))
        except DamagedCheckpointError:
            continue
    return found


def read_state(path: str) -> Saved:
    """The checkpoint in the folder `path`. Raises DamagedCheckpointError for one that was not finished, or was changed."""
    name = path.rsplit("/", 1)[-1]
    try:
        saved = Saved(path, state_from_json(read_text(f"{path}/{STATE_FILE}")))
        if saved.position.global_step != int(name.removeprefix("step-")):
            raise ValueError(f"it is of step {saved.step}")
    except tf.errors.NotFoundError as error:
        raise DamagedCheckpointError(f"{name}: it was not finished") from error
    except (tf.errors.OpError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DamagedCheckpointError(f"{name}: {STATE_FILE} can't be read ({reason:.300})") from error
    return saved


def best_of(saved: list[Saved]) -> Saved | None:
    """The one with the lowest validation loss, the older one of two alike."""
    measured = [one for one in saved if one.validation_loss is not None]
    return min(measured, key=lambda one: one.validation_loss or 0.0, default=None)


# Shape and type of a variable.
Kind = tuple[tuple[int, ...], tf.DType]


def variable_kind(variable: keras.Variable | tf.Variable) -> Kind:
    return tuple(variable.shape), tf.as_dtype(variable.dtype)


def read_values(saved: Saved, kinds: Mapping[str, Kind]) -> dict[str, np.ndarray]:
    """The variables of a checkpoint by name. Raises DamagedCheckpointError when one is not there or not whole."""
    name = saved.path.rsplit("/", 1)[-1]
    _check_files(saved)
    try:
        # TensorFlow compares each tensor with its CRC.
        tensors = tf.raw_ops.RestoreV2(
            prefix=f"{saved.path}/{_VARIABLES}",
            tensor_names=list(kinds),
            shape_and_slices=[""] * len(kinds),
            dtypes=[dtype for _, dtype in kinds.values()],
        )
    except (tf.errors.OpError, AttributeError, KeyError) as error:
        text = " ".join(str(getattr(error, "message", error)).split())
        raise DamagedCheckpointError(f"{name}: it is not what was written ({text[:200]})") from error
    values = {key: tensor.numpy() for key, tensor in zip(kinds, tensors, strict=True)}
    for key, (shape, _) in kinds.items():
        if values[key].shape != shape:
            raise DamagedCheckpointError(f"{name}: {key} must be of shape {shape}, there it is {values[key].shape}")
    return values


def _check_files(saved: Saved) -> None:
    name = saved.path.rsplit("/", 1)[-1]
    try:
        for file, size in saved.state["files"].items():
            if not tf.io.gfile.exists(f"{saved.path}/{file}"):
                raise DamagedCheckpointError(f"{name}: {file} is missing")
            if tf.io.gfile.stat(f"{saved.path}/{file}").length != size:
                raise DamagedCheckpointError(f"{name}: {file} is cut off")
    except (tf.errors.OpError, AttributeError, KeyError) as error:
        text = " ".join(str(getattr(error, "message", error)).split())
        raise DamagedCheckpointError(f"{name}: it is not what was written ({text[:200]})") from error


def read_weights(
    saved: Saved, shapes: Mapping[str, tuple[int, ...]], filled_up: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The weights of a model in a checkpoint, float32, by their paths: their running averages where the run keeps them.
    filled_up: those that may have more rows there, of the vocabulary that a run fills up; they are cut.

    Raises DamagedCheckpointError when one is not there, not whole or of another shape.
    """
    _check_files(saved)
    try:
        there = tf.train.load_checkpoint(f"{saved.path}/{_VARIABLES}").get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError) as error:
        text = " ".join(str(error).split())
        raise DamagedCheckpointError(f"{saved.path}: it is not what was written ({text[:200]})") from error
    names = {path: f"average/{path}" if f"average/{path}" in there else f"model/{path}" for path in shapes}
    kinds: dict[str, Kind] = {}
    for path, shape in shapes.items():
        found = tuple(there.get(names[path], shape))
        is_longer = path in filled_up and found[1:] == shape[1:] and found[0] >= shape[0]
        kinds[names[path]] = (found if is_longer else shape, tf.float32)
    values = read_values(saved, kinds)
    return {
        path: values[names[path]][: shape[0]] if path in filled_up else values[names[path]]
        for path, shape in shapes.items()
    }


def read_model(saved: Saved) -> dict[str, np.ndarray]:
    """Every weight of the model in a checkpoint by its path, the running averages where the run keeps them.

    Raises DamagedCheckpointError when one is not there or not whole.
    """
    _check_files(saved)
    try:
        reader = tf.train.load_checkpoint(f"{saved.path}/{_VARIABLES}")
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError) as error:
        text = " ".join(str(error).split())
        raise DamagedCheckpointError(f"{saved.path}: it is not what was written ({text[:200]})") from error
    paths = [name.removeprefix("model/") for name in shapes if name.startswith("model/")]
    names = {path: f"average/{path}" if f"average/{path}" in shapes else f"model/{path}" for path in paths}
    values = read_values(saved, {name: (tuple(shapes[name]), dtypes[name]) for name in names.values()})
    return {path: values[name] for path, name in names.items()}


def training_variables(
    task: keras.Model, optimizer: tf.Module, averages: Mapping[str, tf.Variable]
) -> dict[str, tf.Variable]:
    """What a checkpoint holds: the weights by their paths, their running averages too, the optimizer's state by its order."""
    weights = {f"model/{weight.path}": weight.value for weight in task.weights}
    if len(weights) != len(task.weights):
        raise ValueError("two weights of the model have one path")
    named = {**weights, **{f"average/{path}": average for path, average in averages.items()}}
    of_model = {id(variable) for variable in named.values()}
    states = [variable for variable in optimizer.variables if id(variable) not in of_model]
    return {**named, **{f"optimizer/{index:04d}": variable for index, variable in enumerate(states)}}
