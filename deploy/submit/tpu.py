"""TPU VMs: a training job as a queued resource, by gcloud; a start-up script runs the image and deletes the TPU after it."""

import json
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clozekit.deploy.submit.backend import Backend, CommandLine
from clozekit.deploy.submit.job_spec import FINGERPRINT, Job
from clozekit.deploy.submit.job_state import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING, JobState
from clozekit.deploy.submit.platform_tools import is_not_found, require_tool, run_tool
from clozekit.deploy.submit.remote_command import CONFIG_FILE, RemoteCommand, train_command
from clozekit.deploy.submit.submit_errors import BucketError, PlaceError, SubmitError
from clozekit.tokenizers.common.errors import InputError

PHASES = {
    "ACCEPTED": WAITING,
    "CREATING": WAITING,
    "WAITING_FOR_RESOURCES": WAITING,
    "PROVISIONING": WAITING,
    "ACTIVE": RUNNING,
    "FAILED": FAILED,
    "DELETING": CANCELLED,
    "SUSPENDING": FAILED,
    "SUSPENDED": FAILED,
}
ADVICE = "install the Google Cloud CLI"
# Docker stops a container this long after SIGTERM; a TPU that is taken away has 30 seconds.
STOP_SECONDS = 25


def command(job: Job, words: list[str], line: CommandLine) -> RemoteCommand:
    job.needs("tpu", "image", "project", "zone", "accelerators", "output")
    if job.num_workers > 1:
        raise InputError(
            f"TPUStrategy drives a whole slice from one process, got num_workers {job.num_workers}; set num_workers=1 and"
            " choose the slice by accelerators.kind"
        )
    if job.accelerators is not None and job.accelerators.count > 1:
        raise InputError(
            f"the number of TPU chips stands in accelerators.kind (v5litepod-8), got accelerators.count"
            f" {job.accelerators.count}; leave it out"
        )
    return train_command(job, words, line, "tpu", needs_url=True)


def _is_one_host(kind: str) -> bool:
    """Up to 8 chips are one host; v2 to v5p count cores, two to a chip and 8 to a host."""
    number = kind.rsplit("-", 1)[-1]
    return not number.isdigit() or int(number) <= 8


def _place(job: Job) -> list[str]:
    return [f"--project={job.project}", f"--zone={job.zone}"]


def _status_file(job: Job) -> str:
    return f"{job.output}/tpu-exit-status"


def _delete_words(job: Job, *flags: str) -> list[str]:
    return ["gcloud", "compute", "tpus", "queued-resources", "delete", job.name, *_place(job), *flags]


def startup_script(job: Job, command: RemoteCommand) -> str:
    """What the TPU VM runs when it starts, as root."""
    assert job.accelerators is not None and job.image is not None
    # Several hosts are driven from the first by the TPU's name, one host by itself.
    tpu_name = "local" if _is_one_host(job.accelerators.kind) else job.name
    variables = {**job.environment, "TPU_NAME": tpu_name}
    names = " ".join(f"--env={shlex.quote(f'{name}={value}')}" for name, value in variables.items())
    end = "CLOZEKIT_CONFIG_ENDS_HERE"
    if end in command.config:
        raise InputError(f"a configuration must not hold the line {end}, which ends it in the start-up script")
    registry = job.image.split("/", 1)[0]
    seconds = job.seconds()
    # Ends with 124 when the time is over, after the trainer has saved.
    limit = "" if seconds is None else f"timeout --signal=TERM --kill-after={STOP_SECONDS} {seconds} "
    run = f"{limit}docker run --rm --name=clozekit --privileged --net=host --log-driver=gcplogs --stop-timeout={STOP_SECONDS}"
    delete = shlex.join(_delete_words(job, "--force", "--async", "--quiet"))
    lines = [
        "#!/bin/bash",
        "set -uo pipefail",
        "# A slice of several hosts is driven from its first.",
        "worker=$(curl -sf -H 'Metadata-Flavor: Google' \\",
        "  http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number || echo 0)",
        '[ "$worker" = 0 ] || exit 0',
        f"gcloud storage rm {shlex.quote(_status_file(job))} 2>/dev/null || true",
        f"cat > {CONFIG_FILE} <<'{end}'",
        command.config.rstrip("\n"),
        end,
        f"gcloud auth configure-docker {shlex.quote(registry)} --quiet",
        "# Taken away, the VM gets SIGTERM: the trainer saves in the time that is left.",
        f"trap 'docker stop --time={STOP_SECONDS} clozekit' TERM",
        f"{run} \\",
        f"  --volume={CONFIG_FILE}:{CONFIG_FILE}:ro {names} \\",
        # Whatever the image's own entry point is.
        f"  --entrypoint={command.words[0]} {shlex.quote(job.image)} {shlex.join(command.words[1:])} &",
        "child=$!",
        'wait "$child"; status=$?',
        'while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done',
        "# 75: stopped and saved, because the TPU is taken away. The request stays and is filled anew by `submit --wait`.",
        '[ "$status" -ne 75 ] || exit 0',
        f'echo "$status" | gcloud storage cp - {shlex.quote(_status_file(job))}',
    ]
    if not job.tpu.keep:
        lines += ["# A TPU costs as much when it has nothing to do.", delete]
    return "\n".join(lines) + "\n"


def create_words(job: Job, command: RemoteCommand, script: str) -> list[str]:
    """The gcloud command. script: the path of the start-up script."""
    assert job.accelerators is not None
    labels = {**job.labels, FINGERPRINT: job.fingerprint(command.words, command.config)}
    flex, seconds = job.provisioning == "flex_start", job.seconds()
    given: dict[str, Any] = {
        "node-id": job.name,
        "accelerator-type": job.accelerators.kind,
        "runtime-version": job.tpu.runtime_version,
        "labels": ",".join(f"{key}={value}" for key, value in labels.items()),
        "service-account": job.service_account,
        # To write the results and to delete itself; what it may do is for the service account to say.
        "scopes": "cloud-platform",
        "network": job.network,
        "subnetwork": job.subnetwork,
        "metadata-from-file": f"startup-script={script}",
        "valid-until-duration": None if job.tpu.max_wait_hours is None else f"{round(job.tpu.max_wait_hours * 3600)}s",
        "provisioning-model": "flex-start" if flex else None,
        "max-run-duration": f"{seconds}s" if flex and seconds is not None else None,
    }
    # Flex-start is known to the alpha commands alone.
    words = ["gcloud", *(["alpha"] if flex else []), "compute", "tpus", "queued-resources", "create", job.name]
    words += _place(job) + [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [*words, *(["--spot"] if job.provisioning == "spot" else []), "--async", "--quiet"]


def render(job: Job, command: RemoteCommand) -> str:
    """The gcloud command and the start-up script, as one shell script."""
    end = "STARTUP_SCRIPT_ENDS_HERE"
    return "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            "script=$(mktemp)",
            f"cat > \"$script\" <<'{end}'",
            startup_script(job, command).rstrip("\n"),
            end,
            shlex.join(create_words(job, command, "SCRIPT")).replace("=SCRIPT", '="$script"'),
            "",
        ]
    )


def find(job: Job) -> JobState | None:
    """The queued resource of that name, None when there is none."""
    job.needs("tpu", "project", "zone")
    require_tool("gcloud", ADVICE)
    words = ["gcloud", "compute", "tpus", "queued-resources", "describe", job.name, *_place(job), "--format=json"]
    try:
        found = json.loads(run_tool(words, show=False))
    except SubmitError as error:
        # gcloud says so of the resource; of a wrong zone it says that permission is missing, or names the zone.
        if is_not_found(error) and f"queuedResources/{job.name}" in str(error):
            return None
        raise
    return _state(job, found)


def _state(job: Job, found: dict[str, Any]) -> JobState:
    state = found.get("state", {}).get("state", "CREATING")
    nodes = found.get("tpu", {}).get("nodeSpec", [])
    labels = nodes[0].get("node", {}).get("labels", {}) if nodes else {}
    failed = found.get("state", {}).get("failedData", {}).get("error", {}).get("message")
    detail = f"{state}: {failed}" if failed else state
    look = shlex.join(["gcloud", "compute", "tpus", "queued-resources", "describe", job.name, *_place(job)])
    return JobState(job.name, job.name, PHASES.get(state, WAITING), detail, labels.get(FINGERPRINT, ""), look)


def refresh(job: Job, state: JobState) -> JobState:
    """The job's present state; when its TPU is gone, how its command ended."""
    found = find(job)
    if found is not None and not (found.phase == CANCELLED and state.phase == RUNNING):
        return found
    try:
        status = run_tool(["gcloud", "storage", "cat", _status_file(job)], show=False).strip()
    except (BucketError, PlaceError, SubmitError):
        return JobState(job.name, job.name, CANCELLED, "the TPU is gone", state.fingerprint, state.look)
    phase = SUCCEEDED if status == "0" else FAILED
    return JobState(job.name, job.name, phase, f"exit status {status}", state.fingerprint, state.look)


def start(job: Job, command: RemoteCommand) -> JobState:
    require_tool("gcloud", ADVICE)
    with tempfile.TemporaryDirectory(prefix="clozekit-tpu-") as folder:
        script = Path(folder) / "startup-script.sh"
        script.write_text(startup_script(job, command), encoding="utf-8")
        run_tool(create_words(job, command, str(script)))
    fingerprint = job.fingerprint(command.words, command.config)
    return _state(job, {"tpu": {"nodeSpec": [{"node": {"labels": {FINGERPRINT: fingerprint}}}]}})


def cancel(job: Job, state: JobState) -> None:
    require_tool("gcloud", ADVICE)
    run_tool(_delete_words(job, "--force", "--async", "--quiet"))


def clear(job: Job, state: JobState) -> None:
    """Deletes a request that has ended, and waits for that."""
    run_tool(_delete_words(job, "--force", "--quiet"))


def was_taken_away(job: Job, state: JobState) -> bool:
    return state.detail.startswith(("SUSPENDING", "SUSPENDED"))


def log_reader(job: Job, state: JobState) -> Callable[[], list[str]]:
    """A function that returns the lines that the container has logged since it was last called, from Cloud Logging."""
    rule = 'logName:"gcplogs-docker-driver" jsonPayload.container.name="/clozekit"'
    seen: set[str] = set()

    def read() -> list[str]:
        words = ["gcloud", "logging", "read", rule, f"--project={job.project}", "--freshness=10m", "--order=asc"]
        entries = json.loads(run_tool([*words, "--limit=1000", "--format=json"], show=False) or "[]")
        new = [entry for entry in entries if entry["insertId"] not in seen]
        seen.update(entry["insertId"] for entry in new)
        return [str(entry.get("jsonPayload", {}).get("message", "")).rstrip() for entry in new]

    return read


BACKEND = Backend(
    "tpu",
    command,
    render,
    find,
    start,
    refresh,
    cancel,
    log_reader,
    keeps_names=True,
    clear=clear,
    was_taken_away=was_taken_away,
)
