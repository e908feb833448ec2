"""A recipe as an Argo Workflow: one manifest with a directed graph of containers, a step each."""

import json
from typing import Any

from clozekit.deploy.submit.gke import CONTAINER_RIGHTS, GRACE_SECONDS, placement
from clozekit.deploy.workflow.exported_tasks import RESTARTS, ExportedRecipe, Task, recipe_text

_GRAPH = "recipe"
# Told to stop and saved, or another worker lost: the step goes on; and a pod whose node was taken away.
_AGAIN = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [75, 76]"


def argo_workflow(exported: ExportedRecipe) -> list[dict[str, Any]]:
    """The manifest, as the one document of its file. Source: the Workflow of argoproj.io/v1alpha1 (Argo Workflows 3.5 and later)."""
    volumes = [
        {"name": f"shared-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(exported.volumes)
    ]
    mounts = [{"name": f"shared-{number}", "mountPath": path} for number, path in enumerate(exported.volumes.values())]
    spec = {
        "entrypoint": _GRAPH,
        "arguments": {"parameters": [{"name": "recipe", "value": recipe_text(exported.recipe)}]},
        # A step that is told to stop saves first.
        "podSpecPatch": json.dumps({"terminationGracePeriodSeconds": GRACE_SECONDS}),
        **({"volumes": volumes} if volumes else {}),
        "templates": [
            {"name": _GRAPH, "dag": {"tasks": [_node(task) for task in exported.tasks]}},
            *(_template(task, mounts) for task in exported.tasks),
        ],
    }
    metadata = {
        "generateName": f"{exported.name}-",
        "labels": {"app.kubernetes.io/name": "clozekit"},
    }
    return [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}]


def _node(task: Task) -> dict[str, Any]:
    before = {"dependencies": list(task.before)} if task.before else {}
    return {"name": task.name, "template": f"step-{task.name}", **before}


def _template(task: Task, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    job = task.job
    container: dict[str, Any] = {
        "image": task.image,
        "command": task.command,
        "args": ["{{workflow.parameters.recipe}}"],
        "securityContext": CONTAINER_RIGHTS,
    }
    template: dict[str, Any] = {
        "name": f"step-{task.name}",
        "retryStrategy": {
            "limit": str(RESTARTS if job is None else job.max_restarts),
            "retryPolicy": "Always",
            "expression": _AGAIN,
        },
    }
    if job is None:
        wanted = {"cpu": task.cores and str(task.cores), "memory": task.memory}
        given = {key: value for key, value in wanted.items() if value}
        if given:
            container["resources"] = {"requests": given, "limits": dict(given)}
    else:
        placed = placement(job)
        container["resources"] = placed.resources
        container["env"] = [{"name": name, "value": value} for name, value in job.environment.items()]
        mounts = [*mounts, *placed.mounts]
        labels = dict(job.labels)
        if job.kubernetes.queue is not None:
            labels["kueue.x-k8s.io/queue-name"] = job.kubernetes.queue
        seconds, account = job.seconds(), job.kubernetes.service_account
        parts = {
            "metadata": {"labels": labels} if labels else None,
            "activeDeadlineSeconds": seconds,
            "serviceAccountName": account,
            "nodeSelector": placed.selector,
            "tolerations": placed.tolerations,
            "volumes": placed.volumes,
        }
        template |= {key: value for key, value in parts.items() if value}
    if mounts:
        container["volumeMounts"] = mounts
    return {**template, "container": {key: value for key, value in container.items() if value}}
