"""The options of every verb that runs on Beam: which runner, how many workers, and what replaces what."""

import argparse
from typing import Any

from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.pipelines.settings.running_settings import RunningSettings

# Verbs of which what stands behind `--` is Beam's.
HAS_BEAM_OPTIONS = ("vocab", "prepare", "export", "compact")
RUNNING = OptionTable(RunningSettings, without=("beam_arguments",))


def add_running_options(parser: argparse.ArgumentParser) -> None:
    RUNNING.add_to(parser.add_argument_group("how it runs", "Options of the runner stand behind `--`, at the end."))


def running_settings(arguments: argparse.Namespace) -> RunningSettings:
    """To be asked for before anything of Beam is imported."""
    settings: RunningSettings = RUNNING.settings_from(arguments, beam_arguments=tuple(arguments.behind))
    if settings.runner is None:
        load_beam_for_here(arguments)
    return settings


def load_beam_for_here(arguments: argparse.Namespace) -> None:
    """Where this is the command's own process, Beam will be loaded with what a local run needs."""
    if arguments.own_process:
        from clozekit.pipelines.running.light_beam import load_beam_lightly

        load_beam_lightly()


def running(settings: RunningSettings) -> dict[str, Any]:
    """The keyword arguments of what builds."""
    from clozekit.pipelines.running.runners import LOCAL_RUNNER

    return {
        "runner": settings.runner or LOCAL_RUNNER,
        "num_workers": settings.num_workers,
        "beam_arguments": list(settings.beam_arguments),
        "overwrite": settings.overwrite,
        "show_progress": True,
    }
