"""Code of the user's own that a run calls while it trains: what it is told, and how it stops the run."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol


class Watched(Protocol):
    """What a callback may use of the run that calls it.

    directory, preset_directory: where everything goes, and the trained model. name: of the run. length: how long it is, for
    people. to_yaml(): its whole configuration. stop(reason): ends it at the next point where it looks, as after its last step:
    evaluated, saved, with its preset. say(text): a line on the screen.
    """

    directory: str
    preset_directory: str

    @property
    def name(self) -> str: ...
    @property
    def length(self) -> str: ...
    def to_yaml(self) -> str: ...
    def stop(self, reason: str) -> None: ...
    def say(self, text: str) -> None: ...


class Callback:
    """Hooks of a run, all of which do nothing here: a class of one's own has those that it needs.

    They are called by the chief worker alone, in the order in which the callbacks were given. What they raise ends the run: nothing of
    it is swallowed. A run that is started again calls `on_begin` with the step it goes on from, and what was not in its last
    checkpoint is told again; a callback that keeps something should have it in a file of its own, by the step.

    Example:

        >>> from clozekit.model.training.watching.callbacks import Callback
        >>> class GoodEnough(Callback):
        ...     def on_evaluate(self, run, step, metrics):
        ...         if metrics["loss"] < 2.0:
        ...             run.stop("the loss is below 2")
        >>> GoodEnough().on_log(None, 20, {"loss": 3.0}) is None
        True
    """

    def on_begin(self, run: Watched, step: int) -> None:
        """Before the first step of this start. step: how many are done, 0 in a new run."""

    def on_log(self, run: Watched, step: int, values: Mapping[str, Any]) -> None:
        """After every `train.steps_per_loop` steps, which run on the device without a look from outside.

        values: what the line of metrics.jsonl has: loss, learning_rate, tokens_per_second and so on; None for a number that
        is none.
        """

    def on_evaluate(self, run: Watched, step: int, metrics: Mapping[str, float]) -> None:
        """After an evaluation. metrics: loss and what else the task is measured by."""

    def on_checkpoint(self, run: Watched, step: int, path: str) -> None:
        """When a checkpoint is there, whole; with `checkpoint.background` at the next look after it was written."""

    def on_end(self, run: Watched, ending: str) -> None:
        """At the end of this start. ending: "finished" (the preset is there), "stopped" (by a signal; it can go on) or
        "failed"."""


class Callbacks:
    """Those of one run. is_heard: whether this worker calls them."""

    def __init__(self, run: Watched, callbacks: Sequence[Callback], is_heard: bool) -> None:
        self._run = run
        self._callbacks = tuple(callbacks) if is_heard else ()

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def begin(self, step: int) -> None:
        for callback in self._callbacks:
            callback.on_begin(self._run, step)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        for callback in self._callbacks:
            callback.on_log(self._run, step, dict(values))

    def evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        for callback in self._callbacks:
            callback.on_evaluate(self._run, step, dict(metrics))

    def checkpoints(self, written: Sequence[tuple[int, str]]) -> None:
        for step, path in written:
            for callback in self._callbacks:
                callback.on_checkpoint(self._run, step, path)

    def end(self, ending: str) -> None:
        """All are called, whatever one of them raises."""
        with ExitStack() as stack:
            for callback in reversed(self._callbacks):
                stack.callback(callback.on_end, self._run, ending)
