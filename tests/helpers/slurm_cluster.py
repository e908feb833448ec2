"""A real Slurm on loopback, started by a test as its own processes: munged, slurmctld, two slurmd."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import free_ports

TIMEOUT_SECONDS = 180
# Names that are addresses of this machine, so that the workers find one another by them as they do on a cluster.
NODES = ("127.0.0.2", "127.0.0.3")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "squeue", "srun")
_SLURM_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=127.0.0.[2-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports}] CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=10 State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here; None when there can. Installs Debian's packages where that is allowed."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    if all(map(_program, _PROGRAMS)):
        return None
    if shutil.which("apt-get") is None:
        return "no Slurm here, and no apt-get to install slurm-wlm and munge"
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "slurm-wlm", "munge"]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"slurm-wlm and munge can't be installed: {done.stderr.strip()[-200:]}"
    return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Slurm:
    """A running cluster of two nodes with two places each."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED, ..."""
        return self.run("scontrol", "show", "job", job).split("JobState=")[1].split()[0]

    def wait_for(self, reached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + TIMEOUT_SECONDS
        while not reached():
            assert time.monotonic() < end, f"{what} never came: {self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Slurm]:
    """Starts the cluster; all of it is gone when the block ends."""
    host = socket.gethostname().split(".")[0]
    controller_port, *ports = free_ports(3)
    # munged refuses a key or a socket in a folder that others may write to.
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(
        _SLURM_CONF.format(
            host=host,
            folder=folder,
            controller_port=controller_port,
            ports=",".join(map(str, ports)),
        )
    )
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf), "-N", NODES[0]],
        ["slurmd", "-D", "-f", str(conf), "-N", NODES[1]],
    ]
    daemons[0] += [f"--{name}={folder}/{name.removesuffix('-file')}" for name in ("pid-file", "log-file", "seed-file")]
    slurm = Slurm(folder, environment)
    with ExitStack() as stack:
        for number, command in enumerate(daemons):
            log = stack.enter_context((folder / f"daemon-{number}.log").open("wb"))
            program = _program(command[0])
            assert program is not None
            process = subprocess.Popen(
                [program, *command[1:]], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            stack.callback(_stop, process)
            if command[0] == "munged":
                slurm.wait_for((folder / "munge.socket").exists, "munged")
        slurm.wait_for(lambda: slurm_is_up(slurm), "the cluster")
        stack.callback(_end_jobs, slurm)
        yield slurm


def _end_jobs(slurm: Slurm) -> None:
    """What a failed test left running; its processes would outlive the daemons."""
    jobs = slurm.run("squeue", "--noheader", "--format=%i").split()
    if jobs:
        slurm.run("scancel", "--signal=KILL", "--full", *jobs)
        slurm.run("scancel", *jobs)
        slurm.wait_for(lambda: not slurm.run("squeue", "--noheader"), "the end of the jobs")


def slurm_is_up(slurm: Slurm) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%T"], env=slurm.environment, capture_output=True, check=False
    )
    return done.stdout.split() == [b"idle", b"idle"]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
