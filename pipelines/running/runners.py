"""Runners: which one a build runs on, the options it needs, and what its failures mean."""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner, create_runner

from clozekit.pipelines.running.server_options import OneLineParser, without_server_options
from clozekit.pipelines.running.view_options import ViewOptions
from clozekit.pipelines.storage.locks import scratch_folder
from clozekit.tokenizers.common.errors import InputError

# Beam's in-process runner by its own name: `DirectRunner` would first try to download another one.
LOCAL_RUNNER = "FnApiRunner"
# The same, with worker processes that end with the command.
_OUR_LOCAL_RUNNER = "clozekit.pipelines.running.local_runner.LocalRunner"

# Above these nobody is faster, and a slip of the finger takes the machine down.
_MOST_WORKERS_A_CPU, _LEAST_MOST_WORKERS = 4, 16
_OS_ERROR = re.compile(r"Error: (\[Errno \d+\] .*?)(?: \[while running .*)?$", re.MULTILINE)
# What runners say when a worker is gone: Beam's local one, Beam's on the JVM, Flink.
_WORKER_LOST = re.compile(
    r"Channel closed prematurely|Socket closed|Stream removed"
    r"|StatusRuntimeException: (CANCELLED|UNAVAILABLE)"
    r"|Lost connection to task manager|TaskManager with id \S+ (is no longer reachable|timed out)",
    re.IGNORECASE,
)
_INPUT_ERROR = re.compile(r"InputError: (.*?)(?: \[while running .*)?$", re.MULTILINE)


def runner_options(runner: str, num_workers: int, beam_arguments: Sequence[str]) -> PipelineOptions:
    """Options for `runner`; on the local one `num_workers` above 1 starts so many worker processes.

    Raises InputError for Beam's multi-threading mode: it silently lost 0.3 to 3.3% of the records in 3 of 3 trials.
    """
    if num_workers < 1:
        raise InputError(f"num_workers must be at least 1, got {num_workers}")
    most = max(_LEAST_MOST_WORKERS, _MOST_WORKERS_A_CPU * (os.cpu_count() or 1))
    if num_workers > most:
        raise InputError(
            f"num_workers must be at most {most} on a machine of {os.cpu_count()} CPUs, got {num_workers}: each is a process"
            " of about 0.3 GB, and more than one a CPU bring nothing"
        )
    if any("multi_threading" in argument for argument in beam_arguments):
        raise InputError(
            "direct_running_mode must not be multi_threading: Beam loses records in it; use --num-workers N, which starts"
            " N processes"
        )
    if any(argument.startswith(("--direct_running_mode", "--direct_num_workers")) for argument in beam_arguments):
        raise InputError(f"worker processes are counted by --num-workers, got {' '.join(beam_arguments)}; use that")
    if num_workers > 1 and runner != LOCAL_RUNNER:
        raise InputError(
            f"--num-workers counts the local processes of {LOCAL_RUNNER}, got {num_workers} with {runner}; give the runner"
            " its own option behind `--`"
        )
    arguments = [f"--runner={_OUR_LOCAL_RUNNER if runner == LOCAL_RUNNER else runner}", *beam_arguments]
    if num_workers > 1:
        arguments += ["--direct_running_mode=multi_processing", f"--direct_num_workers={num_workers}"]
    try:
        known_runner = create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner must name a runner that Beam knows, got {runner!r} ({error})") from error
    _check_known(known_runner, beam_arguments)
    return ViewOptions(arguments)


def _check_known(runner: PipelineRunner, beam_arguments: Sequence[str]) -> None:
    """Raises InputError for an option that neither Beam nor the runner's job server knows; Beam itself would drop it without
    a word."""
    parser = OneLineParser()
    for options in PipelineOptions.__subclasses__():
        if options.__module__.startswith("apache_beam."):
            options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(beam_arguments))
    if not unknown:
        return
    foreign = without_server_options(runner, PipelineOptions(list(beam_arguments)), unknown)
    if foreign:
        raise InputError(
            f"every option behind `--` must be one of Beam's or of the runner's job server (which is asked where"
            f" --job_endpoint or --flink_job_server_jar names it), it does not know {' '.join(foreign)}"
        )


@contextmanager
def open_pipeline(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline that runs when the block ends. Its temporary folder goes with it, after a kill at the next build."""
    with scratch_folder("beam") as folder, beam.Pipeline(options=options) as root:
        os.rmdir(root.local_tempdir)
        root.local_tempdir = os.path.join(folder, "pipeline")
        os.mkdir(root.local_tempdir)
        yield root


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Turns what a worker raised back into what it was: an InputError, an OSError (full disk), a Ctrl-C; a worker that was
    killed becomes a ChildProcessError.

    In this process an exception keeps its type and Beam adds the stage to its message; from other processes it arrives
    as the text of a RuntimeError. Beam logs and prints the traceback of what it also raises; that is left out.
    """
    beam_logger = logging.getLogger("apache_beam")
    level, hook = beam_logger.level, threading.excepthook
    beam_logger.setLevel(logging.CRITICAL)
    threading.excepthook = lambda _: None
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if "KeyboardInterrupt" in text or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if found := _INPUT_ERROR.search(text):
            raise InputError(found.group(1).strip()) from error
        if found := _OS_ERROR.search(text):
            raise OSError(found.group(1).strip()) from error
        if _WORKER_LOST.search(text):
            raise ChildProcessError(
                "a worker process ended before its work was done (killed, or out of memory); run the same command again:"
                " it goes on with what is missing"
            ) from error
        raise
    finally:
        beam_logger.setLevel(level)
        threading.excepthook = hook
