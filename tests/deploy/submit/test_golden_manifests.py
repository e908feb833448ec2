"""What each backend would send, as pinned files that hold against the platform's own rules.

After a wanted change: CLOZEKIT_WRITE_GOLDEN=1 pytest tests/deploy/submit/test_golden_manifests.py, and read the difference.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from command_line import LINE
from google.cloud import aiplatform_v1

from clozekit.deploy.cli.main import main
from clozekit.deploy.submit import dataflow
from clozekit.deploy.submit.job_spec import load_job
from clozekit.model.training.cluster.find_cluster import resolve_cluster
from clozekit.model.training.settings.loop_settings import ClusterSettings

HERE = Path(__file__).parent
GOLDEN, SCHEMAS = HERE / "golden", HERE / "schemas"
TRAIN = ["train", "config.yaml", "train.steps=5000", "model.dropout=0.0"]
PREPARE = ["prepare", "--input", "gs://bucket/docs/*", "--tokenizer", "/opt/tokenizer", "--output", "gs://bucket/out"]
NO_ACCELERATORS = ["accelerators=null", "provisioning=standard", "budget={}"]
CASES = {
    "vertex-spot.json": ["vertex"],
    "vertex-flex-start.json": [
        "vertex",
        "provisioning=flex_start",
        "vertex={tensorboard: '1234', max_wait_hours: 12, web_access: true}",
        "network=projects/1/global/networks/n",
    ],
    "vertex-cpu.json": ["vertex", "num_workers=1", "machine=n2-standard-8", *NO_ACCELERATORS],
    "jobset-spot.yaml": ["gke"],
    "jobset-kueue.yaml": [
        "gke",
        "kubernetes={queue: training, namespace: lm, cpu: '8', memory: 64Gi, service_account: trainer}",
    ],
    "jobset-tpu.yaml": [
        "gke",
        "num_workers=1",
        "machine=null",
        "accelerators={kind: tpu-v5-lite-podslice, count: 4, topology: 2x2}",
    ],
    "indexed-job.yaml": ["gke", "kubernetes={kind: job, volumes: {scratch: /scratch}}", *NO_ACCELERATORS],
    "indexed-job-kueue.yaml": ["gke", "kubernetes={kind: job, queue: training}", "num_workers=1", *NO_ACCELERATORS],
    "flink-operator.yaml": [
        "flink",
        "flink={slots: 2, image: 'my-registry/flink-beam:1.19'}",
        "kubernetes={namespace: lm, cpu: '4', memory: 16Gi, volumes: {scratch: /scratch}}",
        "output=gs://bucket/out",
        *NO_ACCELERATORS[:2],
    ],
    "flink-operator-stream.yaml": [
        "flink",
        "flink={image: 'my-registry/flink-beam:1.19', configuration: {state.checkpoints.dir: /scratch/checkpoints}}",
        "kubernetes={volumes: {scratch: /scratch}}",
        "output=gs://bucket/stream",
        *NO_ACCELERATORS[:2],
    ],
    "tpu-spot.sh": ["tpu", "num_workers=1", "accelerators={kind: v5litepod-8}"],
    "tpu-flex-start.sh": [
        "tpu",
        "num_workers=1",
        "accelerators={kind: v5litepod-16}",
        "provisioning=flex_start",
        "tpu={max_wait_hours: 4, keep: true}",
    ],
    "slurm.sh": [
        "slurm",
        "image=null",
        "accelerators={kind: a100, count: 2}",
        "slurm={partition: gpu, account: lm, cpus_per_task: 16, memory: 100G, setup: [module load cuda]}",
    ],
    "slurm-apptainer.sh": ["slurm", "slurm={qos: preemptible}"],
    "slurm-pyxis.sh": ["slurm", "slurm={container: pyxis, constraint: 'a100&nvlink'}", *NO_ACCELERATORS],
}


def rendered(backend: str, changes: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    command = [*PREPARE, "--", "--max_bundle_size=500"] if backend == "flink" else TRAIN
    if "output=gs://bucket/stream" in changes:
        command = ["stream", "stream.yaml"]
    assert main(["submit", backend, "job.yaml", *changes, "--dry-run", "--", *command]) == 0
    return capsys.readouterr().out


def matches_golden(name: str, text: str) -> bool:
    path = GOLDEN / name
    if os.environ.get("CLOZEKIT_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", CASES)
def test_what_is_sent_is_what_is_pinned(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(GOLDEN)
    backend, *changes = CASES[name]
    assert matches_golden(name, rendered(backend, changes, capsys))


def test_labels_of_vertex_have_one_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(GOLDEN)
    names = [f"label-{number}" for number in range(8)]
    labels = "labels={" + ", ".join(f"{name}: x" for name in names) + "}"
    sent = json.loads(rendered("vertex", [labels], capsys))
    assert [name for name in sent["customJob"]["labels"] if name in names] == names


def test_the_options_of_dataflow_are_what_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    changes = ["dataflow={temp_location: gs://bucket/temp, max_workers: 50}", "environment={}", "output=null"]
    job = load_job("job.yaml", [*changes, *NO_ACCELERATORS, "provisioning=flex_start", "machine=n2-highmem-8"])
    command = dataflow.command(job, list(PREPARE), LINE)
    text = "\n".join(dataflow.beam_arguments(job, job.fingerprint(command.words, command.config))) + "\n"
    assert matches_golden("dataflow-options.txt", text)


def kubernetes_objects() -> list[tuple[str, Any]]:
    names = [name for name in CASES if name.endswith(".yaml")]
    return [(name, each) for name in names for each in yaml.safe_load_all((GOLDEN / name).read_text(encoding="utf-8"))]


def check_kubernetes(found: dict[str, Any]) -> None:
    """Raises when Kubernetes' own schema, or that of JobSet or Flink's operator, does not have a field or a value."""
    if found["kind"] == "FlinkDeployment":
        jsonschema.validate(found, json.loads((SCHEMAS / "flink_deployment.json").read_text(encoding="utf-8")))
        spec = json.loads(json.dumps(found["spec"]["taskManager"]["podTemplate"]["spec"]))
        # The operator gives its own container an image.
        spec["containers"][0]["image"] = found["spec"]["image"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "task-manager"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.33", strict=True)
    elif found["kind"] == "JobSet":
        jsonschema.validate(found, json.loads((SCHEMAS / "jobset.json").read_text(encoding="utf-8")))
        for replicated in found["spec"]["replicatedJobs"]:
            inner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "inner"}, **replicated["template"]}
            kubernetes_validate.validate(inner, "1.33", strict=True)
    else:
        kubernetes_validate.validate(found, "1.33", strict=True)


def test_kubernetes_knows_every_field() -> None:
    kinds = set()
    for _, found in kubernetes_objects():
        check_kubernetes(found)
        kinds.add(found["kind"])
    assert kinds == {"JobSet", "Job", "Service", "FlinkDeployment"}


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("jobset-spot.yaml", ["spec", "failurePolicy", "maxRestart"], 1),
        ("jobset-spot.yaml", ["spec", "failurePolicy", "rules", 0, "action"], "Fail"),
        ("jobset-spot.yaml", ["spec", "replicatedJobs", 0, "template", "spec", "completionMod"], "Indexed"),
        (
            "jobset-spot.yaml",
            ["spec", "replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0, "envs"],
            [],
        ),
        ("flink-operator.yaml", ["spec", "flinkConfiguration", "taskmanager.numberOfTaskSlots"], 2),
        ("flink-operator.yaml", ["spec", "taskManager", "resources"], {"cpus": 2}),
        ("flink-operator.yaml", ["spec", "flinkVersion"], "1.19"),
        ("flink-operator.yaml", ["spec", "taskManager", "podTemplate", "spec", "containers", 1, "images"], "x"),
    ],
)
def test_a_wrong_field_is_caught(name: str, place: list[Any], value: Any) -> None:
    found = {each["kind"]: each for of, each in kubernetes_objects() if of == name}[
        "JobSet" if name.startswith("jobset") else "FlinkDeployment"
    ]
    inner = found
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check_kubernetes(found)


def test_the_queues_for_kueue_are_kueues() -> None:
    schema = json.loads((SCHEMAS / "kueue.json").read_text(encoding="utf-8"))
    text = (HERE.parents[2] / "deploy" / "kubernetes" / "kueue.yaml").read_text(encoding="utf-8")
    objects = {found["kind"]: found for found in yaml.safe_load_all(text)}
    for found in objects.values():
        jsonschema.validate(found, schema)
    assert objects["LocalQueue"]["spec"]["clusterQueue"] == objects["ClusterQueue"]["metadata"]["name"]
    # Every flavor of a group has its resources, in its order.
    for group in objects["ClusterQueue"]["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]
            assert flavor["name"] == objects["ResourceFlavor"]["metadata"]["name"]
    objects["ClusterQueue"]["spec"]["cohort"] = "all"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(objects["ClusterQueue"], schema)


def test_kueue_is_an_overlay() -> None:
    """With a queue a job differs in its label, its namespace and its beginning suspended alone."""
    for name in ("jobset-kueue.yaml", "indexed-job-kueue.yaml"):
        found = dict(kubernetes_objects())[name]
        assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
        assert found["spec"]["suspend"] is True
    assert "suspend" not in dict(kubernetes_objects())["jobset-spot.yaml"]["spec"]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("vertex")])
def test_vertex_knows_every_field(name: str) -> None:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    request = aiplatform_v1.CreateCustomJobRequest.from_json(text)
    pools = request.custom_job.job_spec.worker_pool_specs
    # Vertex AI wants one primary replica in the first pool.
    assert pools[0].replica_count == 1
    assert [pool.container_spec for pool in pools] == [pools[0].container_spec] * len(pools)
    broken = json.loads(text)
    broken["customJob"]["jobSpec"]["workerPoolSpec"] = []
    with pytest.raises(Exception, match="workerPoolSpec"):
        aiplatform_v1.CreateCustomJobRequest.from_json(json.dumps(broken))


def shellcheck_says(path: Path) -> str:
    # SC2016: a $ in a value of the user's stays what it is.
    words = [Path(sys.executable).with_name("shellcheck"), "--norc", "--exclude=SC2016", path]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".sh")])
def test_scripts_are_clean(name: str, tmp_path: Path) -> None:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    scripts = [text]
    if name.startswith("tpu"):
        scripts.append(text.split("<<'STARTUP_SCRIPT_ENDS_HERE'\n")[1].split("STARTUP_SCRIPT_ENDS_HERE\n")[0])
    for number, script in enumerate(scripts):
        path = tmp_path / f"{number}.sh"
        path.write_text(script, encoding="utf-8")
        assert shellcheck_says(path) == ""


def test_the_shell_of_containers_is_clean(tmp_path: Path) -> None:
    request = json.loads((GOLDEN / "vertex-spot.json").read_text(encoding="utf-8"))
    vertex = request["customJob"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"][0]
    jobset = dict(kubernetes_objects())["jobset-spot.yaml"]
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    for number, script in enumerate((vertex, pod["containers"][0]["command"][2])):
        path = tmp_path / f"{number}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        assert shellcheck_says(path) == ""


@pytest.mark.parametrize("name", ["jobset-spot.yaml", "indexed-job.yaml"])
def test_the_trainer_finds_its_cluster_in_what_a_pod_gets(name: str) -> None:
    """The variables of the manifest, and those that Kubernetes adds, give every worker the addresses of all."""
    found = kubernetes_objects()[[each for each, _ in kubernetes_objects()].index(name)][1]
    is_jobset = found["kind"] == "JobSet"
    job = found["spec"]["replicatedJobs"][0]["template"]["spec"] if is_jobset else found["spec"]
    # What the controllers write into a pod's annotations.
    annotations = {
        "metadata.annotations['jobset.sigs.k8s.io/jobset-name']": "bert-small",
        "metadata.annotations['jobset.sigs.k8s.io/replicatedjob-name']": "workers",
        "metadata.annotations['jobset.sigs.k8s.io/replicatedjob-replicas']": "1",
        "metadata.annotations['jobset.sigs.k8s.io/job-index']": "0",
    }
    name_of_pods = "bert-small-workers-0" if is_jobset else "bert-small"
    for index in range(3):
        environment = {"JOB_COMPLETION_INDEX": str(index), "HOSTNAME": f"{name_of_pods}-{index}"}
        for entry in job["template"]["spec"]["containers"][0]["env"]:
            reference = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            environment[entry["name"]] = annotations[reference] if reference else entry["value"]
        spec = resolve_cluster(environment, ClusterSettings())
        assert spec.addresses == tuple(f"{name_of_pods}-{other}.bert-small:2222" for other in range(3))
        assert spec.task_index == index
    # The subdomain is the service's name: JobSet makes it, or the manifest does.
    services = [each for _, each in kubernetes_objects() if each["kind"] == "Service"]
    assert (found["spec"]["network"]["subdomain"] if is_jobset else services[0]["metadata"]["name"]) == "bert-small"


def test_the_budget_is_the_smaller_of_time_and_cost() -> None:
    """24 hours, or 600 at 10 an hour for each of 3 workers: 20 hours."""
    text = {
        name: (GOLDEN / name).read_text(encoding="utf-8")
        for name in ("vertex-spot.json", "jobset-spot.yaml", "slurm.sh")
    }
    assert '"timeout": "72000s"' in text["vertex-spot.json"]
    assert "activeDeadlineSeconds: 72000" in text["jobset-spot.yaml"]
    assert "#SBATCH --time=1200\n" in text["slurm.sh"]


def test_the_slurm_script_stops_saves_and_is_queued_again() -> None:
    lines = (GOLDEN / "slurm.sh").read_text(encoding="utf-8").splitlines()
    assert {"#SBATCH --signal=TERM@60", "#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(lines)
    assert re.search(r"^srun .* clozekit train clozekit-jobs/bert-small/config.yaml ", "\n".join(lines), re.MULTILINE)
