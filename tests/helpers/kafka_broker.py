"""A real Kafka for tests: one node that is broker and controller, from its jars, on loopback."""

import subprocess
from pathlib import Path

from processes import free_ports
from services import START_SECONDS, Service, wait_for_port

_CLUSTER = "Y2xvemVraXQtdGVzdHMtMQ"


class KafkaBroker:
    """address: host:port."""

    def __init__(self, jars: Path, folder: Path) -> None:
        self._jars, self._folder = jars, folder
        self._port, controller_port = free_ports(2)
        self.address = f"127.0.0.1:{self._port}"
        self._settings = folder / "server.properties"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "log.dirs": folder / "log",
            "num.partitions": 3,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
        }
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        command = [
            *self._java("kafka.tools.StorageTool"),
            "format",
            "--cluster-id",
            _CLUSTER,
            "--config",
            self._settings,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS)
        self.start()

    def _java(self, main_class: str) -> list[str]:
        return ["java", "-Xmx512m", "-cp", f"{self._jars}/*", main_class]

    def start(self) -> None:
        """Started anew it has what it had."""
        self._service = Service([*self._java("kafka.Kafka"), str(self._settings)], self._folder / "kafka.log")
        wait_for_port(self._port, self._service)

    def kill(self) -> None:
        self._service.kill()
