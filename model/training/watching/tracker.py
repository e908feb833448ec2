"""What a tracker is, and what holds for all: it goes on where it was, and one that fails does not end the training."""

import importlib
import json
from collections.abc import Mapping
from typing import Any, cast

import tensorflow as tf
import yaml

from clozekit.model.common.own_code import is_own, load_own
from clozekit.model.training.run_directory.run_files import TRACKERS_FILE
from clozekit.model.training.run_directory.small_files import read_text, write_text
from clozekit.model.training.watching.callbacks import Callback, Watched
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import require_extras


class Tracker:
    """A place that numbers are sent to: a file NAME_tracker.py beside this one, with a class `NamedTracker`.

    `begin` raises what it likes where it can't begin: the run then does not begin either. What the others raise is said on the
    screen, once, and nothing more is sent until the run is started again.

    Example:

        >>> from clozekit.model.training.watching.tracker import Tracker
        >>> class Printed(Tracker):
        ...     def begin(self, run, settings, known):
        ...         return "the screen"
        ...     def send(self, step, values):
        ...         print(step, values)
        ...     def end(self, ending):
        ...         print(ending)
        >>> Printed().send(10, {"train/loss": 2.5})
        10 {'train/loss': 2.5}
    """

    def begin(self, run: Watched, settings: Mapping[str, Any], known: str | None) -> str:
        """Opens the run there. settings: of the run, dotted key -> value. known: what an earlier start of this run returned.

        Returns what finds it again.
        """
        raise NotImplementedError

    def send(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by their names, such as "train/loss"."""
        raise NotImplementedError

    def end(self, ending: str) -> None:
        """Closes it; ending: as in `Callback.on_end`."""
        raise NotImplementedError


class Tracking(Callback):
    """The callback of one tracker."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker = name, tracker
        self._failure: str | None = None
        self._has_begun = False

    def on_begin(self, run: Watched, step: int) -> None:
        known = _known(run.directory)
        settings = _flattened(yaml.safe_load(run.to_yaml()))
        try:
            found = self._tracker.begin(run, settings, known.get(self._name))
        except Exception as error:
            raise InputError(
                f"a tracker must be ready before the first step, {self._name} is not ({type(error).__name__}:"
                f" {_first_line(error)}); set it up, use its offline mode, or take it out of log.trackers"
            ) from error
        self._has_begun = True
        if known.get(self._name) != found:
            write_text(f"{run.directory}/{TRACKERS_FILE}", json.dumps({**known, self._name: found}, indent=2) + "\n")

    def on_log(self, run: Watched, step: int, values: Mapping[str, Any]) -> None:
        self._send(run, step, "train", values)

    def on_evaluate(self, run: Watched, step: int, metrics: Mapping[str, float]) -> None:
        self._send(run, step, "validation", metrics)

    def _send(self, run: Watched, step: int, kind: str, values: Mapping[str, Any]) -> None:
        if self._failure is not None:
            return
        numbers = {f"{kind}/{name}": float(value) for name, value in values.items() if isinstance(value, int | float)}
        try:
            self._tracker.send(step, numbers)
        except Exception as error:
            self._failure = f"{self._name} failed at step {step:,} ({type(error).__name__}: {_first_line(error)})"
            run.say(
                f"warning: {self._failure}; training goes on, and nothing more is sent there until the run is started again"
            )

    def on_end(self, run: Watched, ending: str) -> None:
        if not self._has_begun:
            return
        if self._failure is not None:
            run.say(f"warning: {self._failure}: what came after it is in metrics.jsonl alone")
        try:
            self._tracker.end(ending)
        except Exception as error:
            run.say(f"warning: {self._name} could not be closed ({type(error).__name__}: {_first_line(error)})")


def trackers_of(names: tuple[str, ...]) -> list[Callback]:
    """The callbacks that `log.trackers` names. Raises InputError for one that is not there, or needs a package that is not."""
    return [_own(name) if is_own(name) else _ours(name) for name in names]


def _ours(name: str) -> Callback:
    require_extras(f"the tracker {name}", name)
    module = importlib.import_module(f"clozekit.model.training.watching.{name}_tracker")
    return Tracking(name, cast(Tracker, module.NamedTracker()))


def _own(name: str) -> Callback:
    made = load_own("log.trackers", name, ())()
    if not isinstance(made, Callback):
        raise InputError(
            f"log.trackers must name what makes a Callback, {name} made a {type(made).__name__}; change it"
        )
    return made


def _known(directory: str) -> dict[str, str]:
    path = f"{directory}/{TRACKERS_FILE}"
    if not tf.io.gfile.exists(path):
        return {}
    try:
        found = json.loads(read_text(path))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InputError(
            f"{path} says where the trackers of the run are, it can't be read; put it back, or remove it to begin there anew"
        )
    return found


def _flattened(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat.update(
            _flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + str(name): value}
        )
    return flat


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
