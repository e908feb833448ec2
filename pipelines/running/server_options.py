"""Options that no parser of Python's has: those of a runner's job server, asked of the server itself."""

import argparse
import logging
from collections.abc import Sequence
from typing import NoReturn

import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
)
from apache_beam.portability.api import beam_job_api_pb2 as protocol
from apache_beam.runners.portability.job_server import ExternalJobServer, JobServer
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineRunner

from clozekit.tokenizers.common.errors import InputError

_ANSWER_SECONDS = 60
_TYPES = {protocol.PipelineOptionType.INTEGER: int, protocol.PipelineOptionType.NUMBER: float}


class OneLineParser(argparse.ArgumentParser):
    """Bad values are InputErrors, not a screen of usage and an exit."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"options behind `--` must be as their runner has them: {message}")


def server_is_named(options: PipelineOptions) -> bool:
    """Whether there is a job server to ask; without one Beam would first download its own."""
    return bool(
        options.view_as(PortableOptions).job_endpoint
        or options.view_as(FlinkRunnerOptions).flink_job_server_jar
        or options.view_as(SparkRunnerOptions).spark_job_server_jar
    )


def without_server_options(runner: PipelineRunner, options: PipelineOptions, arguments: Sequence[str]) -> Sequence[str]:
    """The arguments that the runner's job server does not know either. A server that runs nowhere yet is started for the
    question, which takes some seconds.

    Raises InputError for a value of the wrong type, and when no server answers.
    """
    if not isinstance(runner, PortableRunner) or not server_is_named(options):
        return arguments
    parser = OneLineParser()
    for option in _described(_job_server(runner, options)):
        # As Beam adds them, when it sends the job.
        if option.type == protocol.PipelineOptionType.BOOLEAN:
            action = "store_true" if option.default_value != "true" else "store_false"
            parser.add_argument(f"--{option.name}", action=action)
        elif option.type == protocol.PipelineOptionType.ARRAY:
            parser.add_argument(f"--{option.name}", action="append")
        else:
            parser.add_argument(f"--{option.name}", type=_TYPES.get(option.type, str))
    return parser.parse_known_args(list(arguments))[1]


def _job_server(runner: PortableRunner, options: PipelineOptions) -> JobServer:
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint:
        return ExternalJobServer(endpoint, _ANSWER_SECONDS)
    return runner.default_job_server(options)


def _described(server: JobServer) -> Sequence[protocol.PipelineOptionDescriptor]:
    beam_logger = logging.getLogger("apache_beam")
    level = beam_logger.level
    # Else it warns of the server that it stops.
    beam_logger.setLevel(logging.ERROR)
    try:
        service = server.start()
        answer = service.DescribePipelineOptions(protocol.DescribePipelineOptionsRequest(), timeout=_ANSWER_SECONDS)
        options: Sequence[protocol.PipelineOptionDescriptor] = answer.options
        return options
    except (grpc.FutureTimeoutError, grpc.RpcError, OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"the runner's job server must answer, to say which options it knows; it did not ({said}); see --job_endpoint"
            " and its own log"
        ) from error
    finally:
        server.stop()
        beam_logger.setLevel(level)
