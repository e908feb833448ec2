"""A Flink session cluster for tests: a JobManager and TaskManagers, Beam's worker pools before one address."""

import json
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from helper_folder import HELPERS
from processes import free_ports
from services import LOG4J, START_SECONDS, Service, wait_for_port

# What Flink's own scripts open for Java 17.
_OPENED = [
    *(
        f"java.{name}"
        for name in ("lang", "net", "io", "nio", "text", "time", "util", "lang.reflect", "util.concurrent")
    ),
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "sun.nio.ch",
]


class WorkerPools:
    """Beam's worker pools before one address, one for each process of an engine, as beside each machine; one that died is started
    anew when it is asked, as Kubernetes does.

    A pool knows a worker by its number alone, and each process of an engine counts its own from 1-1: with two at one pool, the
    order to stop a worker ends that of the other one, and a job of Beam 2.62 waits for ever for a worker that ended before it came.
    """

    def __init__(self, folder: Path, count: int) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        modules = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(HELPERS)])
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": modules}
        self._folder, self._ports = folder, free_ports(count)
        self.pools = [self._start(number) for number in range(count)]
        self._restarts = threading.Lock()
        # Of each process that asked, the place of its pool.
        self._places: dict[int, int] = {}
        self._front = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._front.getsockname()[1]}"
        for port, pool in zip(self._ports, self.pools, strict=True):
            wait_for_port(port, pool)
        threading.Thread(target=self._accept, daemon=True).start()

    def _start(self, number: int) -> Service:
        command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
        command.append(f"--service_port={self._ports[number]}")
        return Service(command, self._folder / f"pool-{number}.log", self._environment)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._front.accept()
            except OSError:
                return
            # It waits until the pools are there.
            with self._restarts:
                pass
            try:
                place = self._place_of(process_at(near.getpeername()[1]))
            except LookupError:
                # It has ended the connection.
                near.close()
                continue
            with self._restarts:
                if not self.pools[place].is_running():
                    self._start_again([place])
            try:
                far = socket.create_connection(("127.0.0.1", self._ports[place]))
            except OSError:
                # Killed just now.
                near.close()
                continue
            threading.Thread(target=_connect, args=(near, far), daemon=True).start()

    def _place_of(self, process: int) -> int:
        """That of its own pool; a new process takes the one that the fewest living ones have."""
        if process not in self._places:
            taken = [place for other, place in self._places.items() if Path(f"/proc/{other}").exists()]
            self._places[process] = min(range(len(self._ports)), key=taken.count)
        return self._places[process]

    def restart(self) -> None:
        """All die with their workers, and others take their places. None gets an order in between: a job of Beam 2.62 waits for
        ever for a worker whose pool died with the order."""
        with self._restarts:
            for pool in self.pools:
                pool.kill()
            self._start_again(range(len(self.pools)))

    def _start_again(self, places: Sequence[int]) -> None:
        for place in places:
            self.pools[place] = self._start(place)
        for place in places:
            wait_for_port(self._ports[place], self.pools[place])

    def close(self) -> None:
        self._front.shutdown(socket.SHUT_RDWR)
        self._front.close()
        for pool in self.pools:
            pool.kill()


def process_at(port: int) -> int:
    """The process whose end of a connection over loopback has that port."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        # What ends meanwhile has no descriptors any more.
        with suppress(OSError):
            if os.readlink(descriptor) in sockets:
                return int(descriptor.parts[2])
    raise LookupError(f"no process has a connection at port {port}")


def _connect(near: socket.socket, far: socket.socket) -> None:
    """Both ways, until both have ended."""
    with near, far:
        back = threading.Thread(target=_forward, args=(far, near), daemon=True)
        back.start()
        _forward(near, far)
        back.join()


def _forward(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class FlinkCluster:
    """master: host:port of its REST address; job_manager, task_managers: the processes.

    jars: of Flink; runner: Beam's jar; more: settings of Flink besides those of every test.
    """

    def __init__(
        self,
        jars: Path,
        runner: Path,
        folder: Path,
        num_task_managers: int,
        num_slots: int,
        more: Mapping[str, object],
    ) -> None:
        rpc_port, rest_port = free_ports(2)
        # Flink's own classes first: the runner brings some of them too.
        self._classes, self._folder = f"{jars}/*{os.pathsep}{runner}", folder
        self.master = f"127.0.0.1:{rest_port}"
        (folder / "log4j.properties").write_text(LOG4J, encoding="utf-8")
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": rpc_port,
            "jobmanager.bind-host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": rest_port,
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": num_slots,
            # Else one TaskManager gets all the tasks that it has slots for.
            "taskmanager.load-balance.mode": "SLOTS",
            "taskmanager.cpu.cores": 1.0,
            "taskmanager.memory.task.heap.size": "384m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.managed.size": "256m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            "taskmanager.memory.network.min": "384m",
            "taskmanager.memory.network.max": "384m",
            # Beam keeps workers from one stage to the next only where its classes are Flink's, not the job's.
            "classloader.resolve-order": "parent-first",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 10,
            "restart-strategy.fixed-delay.delay": "1 s",
            # A TaskManager that came before its JobManager asks again soon, not in ten seconds.
            "cluster.registration.error-delay": 500,
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 10000,
            "state.checkpoints.dir": f"file://{folder}/checkpoints",
            "io.tmp.dirs": str(folder / "tmp"),
            **more,
        }
        (folder / "tmp").mkdir()
        text = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (folder / "flink-conf.yaml").write_text(text, encoding="utf-8")
        self.start_job_manager()
        self.task_managers: list[Service] = []
        for _ in range(num_task_managers):
            self.add_task_manager()

    def start_job_manager(self) -> None:
        """Started anew it has the jobs that it had, where it keeps them (`keeps_jobs`)."""
        self.job_manager = self._start("job-manager", "entrypoint.StandaloneSessionClusterEntrypoint")

    def add_task_manager(self) -> None:
        name = f"task-manager-{len(self.task_managers)}"
        self.task_managers.append(self._start(name, "taskexecutor.TaskManagerRunner"))

    def _start(self, name: str, main_class: str) -> Service:
        command = [
            "java",
            "-Xmx512m",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
            f"-Dlog4j.configurationFile={self._folder}/log4j.properties",
            "-cp",
            self._classes,
            f"org.apache.flink.runtime.{main_class}",
            "--configDir",
            str(self._folder),
        ]
        return Service(command, self._folder / f"{name}.log")

    def asked(self, path: str) -> Any:
        """What its REST interface answers."""
        with urllib.request.urlopen(f"http://{self.master}/{path}", timeout=10) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        """What it says of each job: `jid`, `state`, `tasks` by their state."""
        found: list[dict[str, Any]] = self.asked("jobs/overview")["jobs"]
        return found

    def states(self) -> list[str]:
        return [job["state"] for job in self.jobs()]

    def failures(self) -> int:
        """How often tasks of its jobs have failed since the JobManager began."""
        histories = [self.asked(f"jobs/{job['jid']}/exceptions")["exceptionHistory"] for job in self.jobs()]
        return sum(len(history["entries"]) for history in histories)

    def stop_with_savepoint(self, job: str, folder: Path) -> str:
        """Cancels a job once all that it has is in a savepoint, whose place it gives."""
        wanted = {"target-directory": f"file://{folder}", "cancel-job": True}
        request = urllib.request.Request(
            f"http://{self.master}/jobs/{job}/savepoints",
            json.dumps(wanted).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            trigger = json.load(answer)["request-id"]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = self.asked(f"jobs/{job}/savepoints/{trigger}")
            if found["status"]["id"] == "COMPLETED":
                place: str = found["operation"]["location"]
                return place
            time.sleep(0.1)
        raise TimeoutError(f"no savepoint of {job}")

    def wait_for_task_managers(self, number: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.job_manager.check()
            try:
                if self.asked("overview")["taskmanagers"] == number:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"{number} TaskManagers never came")

    def close(self) -> None:
        for service in (self.job_manager, *self.task_managers):
            service.kill()


@contextmanager
def keeps_jobs(jars: Path, folder: Path) -> Iterator[dict[str, object]]:
    """Settings of a cluster whose JobManager may die: jobs are kept in a folder, and a ZooKeeper, that of Flink's jar, knows them."""
    (port,) = free_ports(1)
    shaded = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain"
    java = ["java", "-Xmx128m", "-Dzookeeper.admin.enableServer=false", "-cp", f"{jars}/*", shaded]
    # The last one is its tick in milliseconds: a leader that is gone is missed after a few.
    zookeeper = Service([*java, str(port), str(folder / "zookeeper"), "500"], folder / "zookeeper.log")
    try:
        wait_for_port(port, zookeeper)
        yield {
            "high-availability.type": "zookeeper",
            "high-availability.zookeeper.quorum": f"127.0.0.1:{port}",
            "high-availability.zookeeper.client.session-timeout": 5000,
            "high-availability.storageDir": f"file://{folder}/jobs",
        }
    finally:
        zookeeper.kill()


@contextmanager
def job_server(jar: Path, folder: Path, master: str) -> Iterator[str]:
    """Beam's job server as a process of its own: host:port."""
    (port,) = free_ports(1)
    ports = [f"--job-port={port}", "--artifact-port=0", "--expansion-port=-1"]
    command = [
        "java",
        "-Xmx512m",
        "-jar",
        str(jar),
        f"--flink-master={master}",
        f"--artifacts-dir={folder}/artifacts",
        *ports,
    ]
    service = Service(command, folder / "job-server.log")
    try:
        wait_for_port(port, service)
        yield f"localhost:{port}"
    finally:
        service.kill()


def options_of(cluster: FlinkCluster, pools: WorkerPools, endpoint: str) -> list[str]:
    """What leads to a cluster, by a job server that runs."""
    return [
        f"--job_endpoint={endpoint}",
        f"--flink_master={cluster.master}",
        "--parallelism=2",
        "--environment_type=EXTERNAL",
        f"--environment_config={pools.address}",
        # Else every stage starts workers of its own.
        "--environment_cache_millis=60000",
    ]


@contextmanager
def flink_cluster(
    jars: Path,
    runner: Path,
    folder: Path,
    num_task_managers: int = 2,
    num_slots: int = 2,
    num_pools: int = 2,
    more: Mapping[str, object] | None = None,
) -> Iterator[tuple[FlinkCluster, WorkerPools]]:
    with ExitStack() as stack:
        pools = WorkerPools(folder, num_pools)
        stack.callback(pools.close)
        cluster = FlinkCluster(jars, runner, folder, num_task_managers, num_slots, more or {})
        stack.callback(cluster.close)
        cluster.wait_for_task_managers(num_task_managers)
        yield cluster, pools
