"""What a platform must offer to `submit`, and what it may ask of the `clozekit` command, which imports it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.submit.job_state import JobState
from clozekit.pipelines.settings.recipe import Recipe
from clozekit.pipelines.settings.running_settings import RunningSettings
from clozekit.pipelines.settings.stream_recipe import StreamRecipe


@dataclass(frozen=True)
class TrainOrder:
    """What `train` is told: the file of its configuration, None where the changes say it all, the changes, whether it
    trains or only looks."""

    config: str | None
    changes: tuple[str, ...]
    dry_run: bool


@dataclass(frozen=True)
class CommandLine:
    """What stands behind `--` is a command of ours: what its words mean, and how `prepare` runs here."""

    prepare_order: Callable[[Sequence[str]], tuple[Recipe, RunningSettings]]
    prepare: Callable[[Recipe, RunningSettings], None]
    train_order: Callable[[Sequence[str]], TrainOrder]
    stream_order: Callable[[Sequence[str]], StreamRecipe]


@dataclass(frozen=True)
class Backend:
    """A platform that `submit` sends jobs to.

    Args:
        name: in the command line.
        command: checks the words behind `--` and gives what the others take as their command, which has `words` and `config`,
            from which the fingerprint of a job is made.
        render: what would be sent, as text.
        find: the newest job of the spec's name, None if there is none.
        start, refresh, cancel: as their names say.
        log_reader: gives a function that returns the lines of the log since it was last called.
        keeps_names: a job that has ended keeps its name until `clear` removes it.
        has_time_limit: the platform ends a job at the end of its budget.
        clear: removes a job that has ended.
        was_taken_away: whether a job that failed lost its machine, where the platform does not start it again by itself.
        finish: what is done here when a job has succeeded.
        updates: whether a job of that name that runs is to be replaced by this one, which takes over what it holds.

    Example:

        >>> from clozekit.deploy.submit.backend import Backend
        >>> from clozekit.deploy.submit.slurm_jobs import BACKEND
        >>> isinstance(BACKEND, Backend), BACKEND.name
        (True, 'slurm')
    """

    name: str
    command: Callable[[Job, list[str], CommandLine], Any]
    render: Callable[[Job, Any], str]
    find: Callable[[Job], JobState | None]
    start: Callable[[Job, Any], JobState]
    refresh: Callable[[Job, JobState], JobState]
    cancel: Callable[[Job, JobState], None]
    log_reader: Callable[[Job, JobState], Callable[[], list[str]]]
    keeps_names: bool = False
    has_time_limit: bool = True
    clear: Callable[[Job, JobState], None] | None = None
    was_taken_away: Callable[[Job, JobState], bool] | None = None
    finish: Callable[[Job, Any], None] | None = None
    updates: Callable[[Job], bool] = lambda job: False
