"""What `clozekit submit` is asked. It loads nothing, so that `--help` answers at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SubmitSettings:
    """One call of `submit`.

    backend: a platform of platforms.py.
    job: the file of the job: its keys stand in the configuration reference.
    changes: changes to the job.
    action: submit, status or cancel.
    words: the command that the job runs, for submit.
    dry_run: submit nothing: print the exact manifest or request.
    wait: follow the job and its log until it ends.
    json: print one JSON object, and nothing else on standard output: name, identifier, phase, detail, fingerprint, look.
    """

    backend: str
    job: str
    changes: tuple[str, ...] = ()
    action: str = "submit"
    words: tuple[str, ...] = ()
    dry_run: bool = False
    wait: bool = False
    json: bool = False
