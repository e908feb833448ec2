"""Platform tools (gcloud, sbatch): their command is printed, run, and its failure put into one line."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from clozekit.deploy.submit.submit_errors import (
    BucketError,
    CredentialsError,
    NameTakenError,
    PlaceError,
    RefusedError,
    SubmitError,
    UnavailableError,
    one_line,
)

# What the tools write to standard error, and what it means; the first that is found counts.
MEANINGS: tuple[tuple[str, type[SubmitError], str], ...] = (
    (r"ALREADY_EXISTS|already exists", NameTakenError, "choose another name"),
    (r"RESOURCE_EXHAUSTED|[Qq]uota", RefusedError, "change the job and submit it again"),
    (
        r"active account|credentials|reauth|UNAUTHENTICATED|gcloud auth login|PERMISSION_DENIED|[Pp]ermission|"
        r"Access/permission denied|Invalid account",
        CredentialsError,
        "log in (gcloud auth login) as somebody who may",
    ),
    (r"[Bb]ucket", BucketError, "check the bucket"),
    (r"[Zz]one|[Rr]egion|[Ll]ocation|[Pp]artition|[Pp]roject", PlaceError, "check project, zone and partition"),
    (
        r"UNAVAILABLE|Unable to contact|[Cc]onnection|[Tt]imed out|Unable to reach|resolve",
        UnavailableError,
        "check the network and run it again",
    ),
)


def require_tool(name: str, advice: str) -> None:
    if shutil.which(name) is None:
        raise UnavailableError(f"this needs the command {name}, it is not on the path; {advice}")


def run_tool(words: Sequence[str], given: str | None = None, show: bool = True) -> str:
    """What the command prints. given: its standard input. show: print the command first, as the shell takes it.

    Raises a SubmitError when it fails.
    """
    if show:
        print(f"$ {shlex.join(words)}", file=sys.stderr, flush=True)
    status, out, err = _run(words, given)
    if status == 0:
        return out
    said = err.strip() or out.strip() or f"exit status {status}"
    for pattern, kind, advice in MEANINGS:
        if re.search(pattern, said):
            raise kind(f"{words[0]} refused: {one_line(said)}; {advice}")
    raise RefusedError(f"{words[0]} refused: {one_line(said)}; change the job and submit it again")


def _run(words: Sequence[str], given: str | None) -> tuple[int, str, str]:
    """(exit status, standard output, standard error). What the tool started ends with this process, at the latest."""
    require_tool(words[0], "install it, or run this where it is")
    process = subprocess.Popen(
        [sys.executable, "-m", "clozekit.deploy.submit.tool_process", str(os.getpid()), *words],
        # Its questions would not be seen.
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(given)
    except BaseException:
        # Ctrl-C and signals reach this process alone.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, err


def is_not_found(error: SubmitError) -> bool:
    return re.search(r"NOT_FOUND|not found|was not found", str(error)) is not None
