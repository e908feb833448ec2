"""Slurm: a training job as a batch script that goes on by itself after its time limit, a preemption or a lost node."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import FINGERPRINT, Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.platform_tools import require_tool, run_tool
from clozekit.deploy.submit.remote_command import RemoteCommand, train_command
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import write_text
from clozekit.tokenizers.storage.owned_files import Owned, check_free, write_owned

PHASES = {
    "PENDING": WAITING,
    "REQUEUED": WAITING,
    "REQUEUE_HOLD": WAITING,
    "SUSPENDED": WAITING,
    "CONFIGURING": WAITING,
    "RUNNING": RUNNING,
    "COMPLETING": RUNNING,
    "COMPLETED": SUCCEEDED,
    "CANCELLED": CANCELLED,
    "PREEMPTED": WAITING,
}
# Seconds before its time limit at which Slurm tells a job to stop and save.
SIGNAL_SECONDS = 60
# How long srun waits for the other tasks when one has ended: they save, or find out that they lost it.
WAIT_SECONDS = 120
ADVICE = "run this on a login node of the cluster, or take the script of --dry-run there"


def command(job: Job, words: list[str], line: CommandLine) -> RemoteCommand:
    if job.provisioning == "flex_start":
        raise InputError("provisioning on Slurm must be standard or spot (a preemptible qos), got flex_start")
    seconds = job.seconds()
    if seconds is not None and seconds <= 2 * SIGNAL_SECONDS:
        raise InputError(
            f"budget must leave more than {2 * SIGNAL_SECONDS} seconds, of which the last {SIGNAL_SECONDS} are for saving,"
            f" got {seconds}; raise it"
        )
    return train_command(job, words, line, "slurm", needs_url=False)


def _folder(job: Job) -> str:
    return f"{job.slurm.folder}/{job.name}"


def render(job: Job, command: RemoteCommand) -> str:
    """The batch script."""
    settings, folder, seconds = job.slurm, _folder(job), job.seconds()
    config_file = f"{folder}/config.yaml"
    options = [
        f"--job-name={job.name}",
        f"--comment={FINGERPRINT}={job.fingerprint(command.words, command.config)}",
        f"--nodes={job.num_workers}",
        "--ntasks-per-node=1",
        f"--signal=TERM@{SIGNAL_SECONDS}",
        "--requeue",
        "--open-mode=append",
        f"--output={folder}/log-%j.txt",
        # Two jobs of one name never run at once.
        "--dependency=singleton",
    ]
    if seconds is not None:
        options.append(f"--time={(seconds + 59) // 60}")
    if job.accelerators is not None:
        kind = "" if job.accelerators.kind == "gpu" else f"{job.accelerators.kind}:"
        options.append(f"--gpus-per-node={kind}{job.accelerators.count}")
    given = {
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "cpus-per-task": settings.cpus_per_task,
        "mem": settings.memory,
    }
    options += [f"--{name}={value}" for name, value in given.items() if value is not None]
    # Slurm's --kill-on-bad-exit would end the others while they save.
    srun = ["srun", "--distribution=block", "--kill-on-bad-exit=0", f"--wait={WAIT_SECONDS}"]
    words = list(command.with_config_file(config_file).words)
    container = ""
    if job.image is not None and settings.container == "pyxis":
        srun.append(f"--container-image={job.image}")
        container = ' --container-mounts="$PWD:$PWD" --container-workdir="$PWD"'
    elif job.image is not None:
        nv = ["--nv"] if job.accelerators is not None else []
        words = ["apptainer", "exec", *nv, f"docker://{job.image}", *words]
    end = "CLOZEKIT_CONFIG_ENDS_HERE"
    if end in command.config:
        raise InputError(f"a configuration must not hold the line {end}, which ends it in the batch script")
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        "",
        *(f"export {name}={shlex.quote(value)}" for name, value in job.environment.items()),
        *settings.setup,
        "",
        f"mkdir -p {shlex.quote(folder)}",
        "# The configuration as it was submitted, however its file changed while the job waited.",
        f"cat > {shlex.quote(config_file)} <<'{end}'",
        command.config.rstrip("\n"),
        end,
        "",
        f"{shlex.join(srun)}{container} {shlex.join(words)}",
        "status=$?",
        'echo "clozekit ended with $status, start ${SLURM_RESTART_COUNT:-0} of job $SLURM_JOB_ID"',
        "",
        "# 75: told to stop, and saved. 76: lost another worker. From 128: a signal ended a worker.",
        "again=no",
        'if [ "$status" -eq 75 ]; then again=yes; fi',
        f'if [ "$status" -gt 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {job.max_restarts} ]; then again=yes; fi',
        "# A job that was cancelled is no longer RUNNING, and stays cancelled.",
        'state=$(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID")',
        'if [ "$again" = yes ] && [ "$state" = RUNNING ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def find(job: Job) -> JobState | None:
    """The job of that name and user in the queue, None when there is none. Of ended jobs the queue knows nothing."""
    require_tool("squeue", ADVICE)
    words = ["squeue", "--me", "--noheader", f"--name={job.name}", "--format=%A|%T|%r|%k"]
    lines = [line for line in run_tool(words, show=False).splitlines() if line.strip()]
    if not lines:
        return None
    number, state, reason, comment = lines[0].strip().split("|", 3)
    return _state(job, number, state, reason, comment.removeprefix(f"{FINGERPRINT}="))


def _state(job: Job, number: str, state: str, reason: str, fingerprint: str) -> JobState:
    detail = state if reason in ("None", "") else f"{state}: {reason}"
    return JobState(job.name, number, PHASES.get(state, FAILED), detail, fingerprint, f"squeue --jobs={number}")


def start(job: Job, command: RemoteCommand) -> JobState:
    require_tool("sbatch", ADVICE)
    folder = Path(_folder(job))
    # The batch script writes the configuration there when it runs.
    names, choose = ("job.sh", "config.yaml"), "choose another slurm.folder, or another name for the job"
    check_free("a job", folder, names, choose)
    write_owned(folder, Owned("submit", frozenset(names)))
    script = folder / "job.sh"
    write_text(script, render(job, command))
    answer = run_tool(["sbatch", "--parsable", str(script)]).strip()
    number = answer.split(";")[0]
    return _state(job, number, "PENDING", "", job.fingerprint(command.words, command.config))


def cancel(job: Job, state: JobState) -> None:
    require_tool("scancel", ADVICE)
    run_tool(["scancel", state.identifier])


def refresh(job: Job, state: JobState) -> JobState:
    """The job's present state, also when it has left the queue: its controller remembers it for some minutes."""
    answer = run_tool(["scontrol", "--oneliner", "show", "job", state.identifier], show=False)
    found = dict(re.findall(r"(\w+)=(\S*)", answer))
    reason = f"exit code {found.get('ExitCode', '?')}" if found["JobState"] == "FAILED" else found.get("Reason", "")
    return _state(job, state.identifier, found["JobState"], reason, state.fingerprint)


def log_reader(job: Job, state: JobState) -> Callable[[], list[str]]:
    """A function that returns the whole lines that the job has logged since it was last called."""
    path, position = Path(_folder(job)) / f"log-{state.identifier}.txt", 0

    def read() -> list[str]:
        nonlocal position
        if not path.is_file():
            return []
        with path.open("rb") as stream:
            stream.seek(position)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        position += len(whole)
        return whole.decode("utf-8", "replace").splitlines()

    return read


BACKEND = Backend(
    "slurm",
    command,
    render,
    find,
    start,
    refresh,
    cancel,
    log_reader,
)
