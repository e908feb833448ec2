"""How a verb that runs on Beam runs: which runner, how many workers, what replaces what. No Beam."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunningSettings:
    """What `vocab`, `prepare` and `export` are told besides their own settings; it changes no byte of what they make.

    runner: a Beam runner such as DataflowRunner; in this process if not given.
    num_workers: local worker processes.
    overwrite: replace what an earlier run with other settings left.
    beam_arguments: options of the runner.
    """

    runner: str | None = None
    num_workers: int = 1
    overwrite: bool = False
    beam_arguments: tuple[str, ...] = ()
