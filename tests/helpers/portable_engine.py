"""Beam's portable path for tests: its job service and worker pool as processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import free_ports


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def portable_engine() -> Iterator[list[str]]:
    """The options that lead to it. Its workers find the helpers of tests too."""
    # The pool starts its workers with the first `python` of the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    modules = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(Path(__file__).parent)])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": modules}
    job_port, pool_port = free_ports(2)
    commands = {
        job_port: ["apache_beam.runners.portability.local_job_service_main", f"--job_port={job_port}"],
        pool_port: ["apache_beam.runners.worker.worker_pool_main", f"--service_port={pool_port}"],
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands.values()
    ]
    try:
        for port, process in zip(commands, processes, strict=True):
            wait_for(port, process)
        yield [
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool_port}",
        ]
    finally:
        for process in processes:
            # The whole session: the workers that the pool started too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
