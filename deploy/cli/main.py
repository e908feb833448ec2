"""The `clozekit` command: runs a verb; one line for what went wrong, exit codes."""

import argparse
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from clozekit.deploy.cli.interruption import Interruption
from clozekit.deploy.cli.parser import parse
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import MissingExtraError, extra_of, missing_extras, require_extras
from clozekit.tokenizers.common.light_arrow import load_arrow_lightly
from clozekit.tokenizers.common.quiet_libraries import DEBUG
from clozekit.tokenizers.common.seldom_collection import collect_seldom

# `doctor` says of each place how it is; what `submit` names may be within reach of the workers alone.
_ASK_THEMSELVES = ("run", "submit", "doctor")
EXIT_OK, EXIT_FAILURE, EXIT_INPUT, EXIT_MISSING_EXTRA, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    with Interruption() as interruption:
        try:
            line, status = _run(argv, interruption)
        except (Exception, KeyboardInterrupt):
            # Whatever a library makes of a signal, the signal is the reason.
            if interruption.received is None:
                raise
            line, status = "", interruption.status
        if interruption.received is not None:
            return interruption.finish()
        if line:
            print(line, file=sys.stderr)
        if argv is None:
            # The process ends: looking through all modules for garbage once more would take up to 0.8 CPU-seconds.
            gc.freeze()
        return status


def _run(argv: Sequence[str] | None, interruption: Interruption) -> tuple[str, int]:
    """Runs the command; returns the line that says what went wrong ("" where nothing did) and the exit status."""
    try:
        arguments = parse(argv)
    except InputError as error:
        given = sys.argv[1:] if argv is None else argv
        name = next((word for word in given if not word.startswith("-")), "")
        return f"clozekit {name}: {error}".replace(" :", ":"), EXIT_INPUT
    name = interruption.command = f"clozekit {arguments.command}"
    interruption.debug = arguments.debug
    # What is loaded with half of its parts must serve nobody else in a process that only calls this.
    arguments.own_process = argv is None
    if arguments.own_process:
        collect_seldom()
        load_arrow_lightly()
    interruption.has_workers = getattr(arguments, "num_workers", None) not in (None, 1)
    if arguments.command in ("train", "finetune", "adapt"):
        interruption.handle(signal.SIGUSR1)
    if not arguments.debug:
        # Before gRPC is loaded, by Beam too.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        # What it says with a traceback is raised too, and told in one line.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    before = os.environ.get(DEBUG)
    if arguments.debug:
        os.environ[DEBUG] = "1"
    try:
        require_extras("the command", *arguments.needs)
        if arguments.command not in _ASK_THEMSELVES:
            _ask_stores(arguments)
        arguments.run(arguments)
    except KeyboardInterrupt:
        return f"{name}: interrupted; run it again to resume", EXIT_INTERRUPTED
    except Exception as error:
        line, status = _line_of(error)
        if line is None:
            raise
        if arguments.debug:
            traceback.print_exc()
        return f"{name}: {line}", status
    finally:
        if before is None:
            os.environ.pop(DEBUG, None)
    return "", EXIT_OK


def _ask_stores(arguments: argparse.Namespace) -> None:
    urls = [value for value in vars(arguments).values() if isinstance(value, str | list) and "://" in str(value)]
    if urls:
        from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

        check_reachable(urls_in(urls))


def _line_of(error: Exception) -> tuple[str | None, int]:
    """What an error is to a user, in one line, and the exit status; no line where only a traceback says it."""
    if isinstance(error, MissingExtraError):
        return str(error), EXIT_MISSING_EXTRA
    if isinstance(error, InputError):
        return str(error), EXIT_INPUT
    if isinstance(error, ModuleNotFoundError) and (extra := extra_of(error.name or "")):
        return str(missing_extras("the command", [str(error.name)], [extra])), EXIT_MISSING_EXTRA
    # An EarlyEndError of the trainer, which is not loaded for every command.
    status = getattr(error, "exit_status", None)
    if isinstance(error, RuntimeError) and status is not None:
        return str(error), status
    if isinstance(error, OSError) and error.strerror:
        # A full disk, a folder that can't be written: nothing to learn from a traceback.
        return str(error), EXIT_FAILURE
    # Its import takes a while, and few need it.
    from clozekit.deploy.storage_errors import refusal

    line = refusal(error)
    return (str(error) if line is None and isinstance(error, OSError) else line), EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
