"""A Spark cluster for tests: a master and workers as processes of their own, and Beam's job server, which drives it."""

import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from processes import free_ports
from services import LOG4J, START_SECONDS, Service, wait_for_port

# What Spark opens for itself on Java 17 where its own scripts start it.
_OPENED = [
    *(
        f"java.{name}"
        for name in ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util", "util.concurrent")
    ),
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
]


class SparkCluster:
    """address: the master's, spark://host:port; master, workers: the processes. jars: of Spark and Beam's runner."""

    def __init__(self, jars: Path, folder: Path, num_workers: int) -> None:
        self._jars, self._folder = jars, folder
        # Where a worker looks for what it starts executors with.
        home = folder / "home"
        home.mkdir()
        (home / "jars").symlink_to(jars)
        (folder / "log4j.properties").write_text(LOG4J, encoding="utf-8")
        self._environment = {
            **os.environ,
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_SCALA_VERSION": "2.12",
        }
        port, self._page = free_ports(2)
        self.address = f"spark://127.0.0.1:{port}"
        ports = [f"--port={port}", f"--webui-port={self._page}"]
        words = [word for each in ports for word in each.split("=")]
        self.master = self._start("master", "org.apache.spark.deploy.master.Master", ["--host", "127.0.0.1", *words])
        wait_for_port(port, self.master)
        self.workers: list[Service] = []
        for _ in range(num_workers):
            self.add_worker()

    def add_worker(self) -> None:
        name = f"worker-{len(self.workers)}"
        words = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g"]
        words += ["--work-dir", str(self._folder / name), self.address]
        self.workers.append(self._start(name, "org.apache.spark.deploy.worker.Worker", words))

    def _start(self, name: str, main_class: str, words: list[str], *options: str) -> Service:
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        logging = f"-Dlog4j2.configurationFile={self._folder}/log4j.properties"
        command = ["java", "-Xmx512m", *opened, logging, *options, "-cp", f"{self._jars}/*", main_class, *words]
        return Service(command, self._folder / f"{name}.log", self._environment)

    def asked(self) -> Any:
        """What the master's page says, as JSON: `aliveworkers`, `activeapps`, `completedapps`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=10) as answer:
            return json.load(answer)

    def wait_for_workers(self, number: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.master.check()
            try:
                if self.asked()["aliveworkers"] == number:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"{number} Spark workers never came")

    def num_finished_stages(self) -> int:
        """Of all jobs that the job server has driven."""
        return len(re.findall(r"Stage .* finished in", (self._folder / "job-server.log").read_text(errors="replace")))

    def job_server(self) -> tuple[str, Service]:
        """Beam's job server, whose process is the driver of all that it is given: host:port, and the process."""
        (port,) = free_ports(1)
        words = [f"--spark-master-url={self.address}", f"--job-port={port}", "--artifact-port=0", "--expansion-port=-1"]
        settings = ["host=127.0.0.1", "bindAddress=127.0.0.1"]
        options = [f"-Dspark.driver.{setting}" for setting in settings]
        options += ["-Dspark.executor.memory=768m", "-Dspark.ui.enabled=false"]
        words.append(f"--artifacts-dir={self._folder}/artifacts")
        server = self._start("job-server", "org.apache.beam.runners.spark.SparkJobServerDriver", words, *options)
        wait_for_port(port, server)
        return f"localhost:{port}", server

    def close(self) -> None:
        for service in (*self.workers, self.master):
            service.kill()


@contextmanager
def spark_cluster(jars: Path, folder: Path, num_workers: int = 2) -> Iterator[tuple[SparkCluster, str]]:
    """The cluster, and the address of its job server."""
    with ExitStack() as stack:
        cluster = SparkCluster(jars, folder, num_workers)
        stack.callback(cluster.close)
        cluster.wait_for_workers(num_workers)
        endpoint, server = cluster.job_server()
        stack.callback(server.kill)
        yield cluster, endpoint
