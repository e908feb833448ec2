"""A stand-in of a Kubernetes cluster that runs what it is sent: the pod of a JobSet is a process of this machine."""

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from stand_in import Request

JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets"
PODS = "/api/v1/namespaces/default/pods"
# Where the pod's shell writes its configuration; processes of one machine share that folder.
_CONFIG = "/tmp/clozekit-config.yaml"
# JobSet's controller sets them for each pod.
_ANNOTATIONS = {
    "jobset.sigs.k8s.io/replicatedjob-name": "workers",
    "jobset.sigs.k8s.io/replicatedjob-replicas": "1",
    "jobset.sigs.k8s.io/job-index": "0",
}


class PodCluster:
    """JobSets of one pod. A pod that ends with another status than 0 and 2 is begun again, `maxRestarts` times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobsets: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, list[subprocess.Popen[bytes]]] = {}

    def answer(self, request: Request) -> tuple[int, Any]:
        name = request.path.rsplit("/", 1)[-1]
        if request.path == PODS:
            (name,) = [
                pair.split("=")[1] for pair in request.query["labelSelector"].split(",") if "jobset-name" in pair
            ]
            metadata = {"creationTimestamp": "2026-11-30T00:00:00Z", "name": name}
            spec = {"containers": [{"name": "trainer", "image": "i"}]}
            return 200, {"kind": "PodList", "items": [{"metadata": metadata, "spec": spec}]}
        if request.path.startswith(PODS):
            return 200, self._log(request.path.split("/")[-2])
        if request.method == "POST":
            name = request.body["metadata"]["name"]
            request.body["metadata"]["uid"] = f"uid-{name}"
            self.jobsets[name] = request.body
            self.pods[name] = []
            self._begin(name)
            return 201, request.body
        if name not in self.jobsets:
            message = f'jobsets.jobset.x-k8s.io "{name}" not found'
            return 404, {"kind": "Status", "status": "Failure", "message": message, "code": 404}
        return 200, {**self.jobsets[name], "status": self._status(name)}

    def _container(self, name: str) -> dict[str, Any]:
        (job,) = self.jobsets[name]["spec"]["replicatedJobs"]
        (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
        found: dict[str, Any] = container
        return found

    def _begin(self, name: str) -> None:
        container = self._container(name)
        known = {**_ANNOTATIONS, "jobset.sigs.k8s.io/jobset-name": name}
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "0"}
        for variable in container["env"]:
            value = variable.get("value")
            if value is None:
                value = known[variable["valueFrom"]["fieldRef"]["fieldPath"].split("'")[1]]
            environment[variable["name"]] = value
        words = [word.replace(_CONFIG, str(self.folder / f"{name}.yaml")) for word in container["command"]]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.pods[name].append(
                subprocess.Popen(words, env=environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
            )

    def _status(self, name: str) -> dict[str, Any]:
        status = self.pods[name][-1].poll()
        most = self.jobsets[name]["spec"]["failurePolicy"]["maxRestarts"]
        if status not in (None, 0, 2) and len(self.pods[name]) <= most:
            self._begin(name)
            status = None
        if status is None:
            return {"replicatedJobsStatus": [{"name": "workers", "ready": 1}]}
        return {"conditions": [{"type": "Failed" if status else "Completed", "status": "True"}]}

    def _log(self, name: str) -> str:
        now = datetime.datetime.now(datetime.UTC)
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return "".join(
            f"{(now + datetime.timedelta(microseconds=number)).strftime('%Y-%m-%dT%H:%M:%S.%fZ')} {line}\n"
            for number, line in enumerate(lines)
        )

    def close(self) -> None:
        for pod in [pod for pods in self.pods.values() for pod in pods]:
            pod.kill()
            pod.wait()


def write_kubeconfig(path: Path, url: str) -> None:
    """For the cluster at `url`, as its only and current context."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
