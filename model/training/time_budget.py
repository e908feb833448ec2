"""The hours that a run may take, counted over all its starts by the chief's clock."""

import time

from clozekit.model.training.cluster.workers import Workers


class TimeBudget:
    """How much of `hours` is used; None is no limit. All workers must ask alike, and get the same answers."""

    def __init__(self, hours: float | None, used_seconds: float, workers: Workers) -> None:
        self._limit = None if hours is None else hours * 3600
        self._before = used_seconds
        self._started = time.monotonic()
        self._workers = workers
        self._step_seconds = 0.0
        self.used_seconds = used_seconds

    def look(self, num_steps: int = 0, seconds: float = 0.0) -> None:
        """Looks at the clock; num_steps, seconds: the steps that were just done and how long they took."""
        if self._limit is None:
            return
        used = self._before + time.monotonic() - self._started
        self.used_seconds = self._workers.chiefs(round(used * 1e6)) / 1e6
        if num_steps:
            self._step_seconds = self._workers.chiefs(round(seconds / num_steps * 1e6)) / 1e6

    @property
    def is_over(self) -> bool:
        """Whether not even half a step would be in time."""
        return self._limit is not None and self.used_seconds + self._step_seconds / 2 >= self._limit

    def use_up(self) -> None:
        """The run is over: started again it has nothing left to do."""
        self.used_seconds = max(self.used_seconds, self._limit or 0.0)

    def steps_left(self) -> int | None:
        """Steps that fit into what is left, at least one; None when that is not known."""
        if self._limit is None or not self._step_seconds:
            return None
        return max(1, round((self._limit - self.used_seconds) / self._step_seconds))

    def share(self) -> tuple[float, float]:
        """Of the hours, what is used so far, and what each of the next steps will use."""
        return (
            (0.0, 0.0) if self._limit is None else (self.used_seconds / self._limit, self._step_seconds / self._limit)
        )
