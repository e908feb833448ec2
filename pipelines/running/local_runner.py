"""Beam's local runner with worker processes that end when the command does, however it ends."""

import os
import shlex
import sys
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class LocalRunner(FnApiRunner):
    """FnApiRunner, but for how it starts worker processes."""

    def run_via_runner_api(self, pipeline_proto: Any, options: Any) -> Any:
        # Beam starts a worker by a shell, which would stay between the two. Until the worker has a handler of its own, an
        # interrupted start of Python would be a traceback.
        words = [sys.executable, "-m", "clozekit.pipelines.running.worker_process", str(os.getpid())]
        command = f"trap '' INT; exec {shlex.join(words)}"
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = command.encode()
        return super().run_via_runner_api(pipeline_proto, options)
