"""A recipe as the pipeline spec of Kubeflow Pipelines and Vertex AI Pipelines, as `kfp` would compile it."""

from typing import Any

from clozekit.deploy.workflow.exported_tasks import RESTARTS, ExportedRecipe, Task, job_says, recipe_text
from clozekit.tokenizers.common.errors import InputError

# Whose pipeline specs these are; the field is read by the services.
_KFP = "2.17.3"
_RECIPE = "recipe"
# Of a job on GKE, what a pipeline spec can say too.
_SAYABLE = ("accelerators", "environment", "max_restarts")


def kfp_pipeline(exported: ExportedRecipe) -> list[dict[str, Any]]:
    """The documents of its file: the pipeline spec and, where there are volumes, what Kubernetes alone is told of it.

    Source: pipeline_spec.proto of Kubeflow Pipelines (schema 2.1.0) and kubernetes_executor_config.proto. Raises InputError for what a
    step says of its pod that a pipeline spec has no word for.
    """
    for task in exported.tasks:
        _check_sayable(task)
    takes = {"inputDefinitions": {"parameters": {_RECIPE: {"parameterType": "STRING"}}}}
    # In one line: kfp's own compiler puts the value into a comment of one line.
    text = recipe_text(exported.recipe, in_one_line=True)
    given = {"defaultValue": text, "isOptional": True, "parameterType": "STRING"}
    tasks = exported.tasks
    spec = {
        "components": {f"comp-{task.name}": {"executorLabel": f"exec-{task.name}", **takes} for task in tasks},
        "deploymentSpec": {"executors": {f"exec-{task.name}": {"container": _container(task)} for task in tasks}},
        "pipelineInfo": {"name": exported.name},
        "root": {
            "dag": {"tasks": {task.name: _task(task) for task in tasks}},
            "inputDefinitions": {"parameters": {_RECIPE: given}},
        },
        "schemaVersion": "2.1.0",
        "sdkVersion": f"kfp-{_KFP}",
    }
    if not exported.volumes:
        return [spec]
    mounts = [
        {
            "constant": claim,
            "mountPath": path,
            "pvcNameParameter": {"runtimeValue": {"constant": claim}},
        }
        for claim, path in exported.volumes.items()
    ]
    executors = {f"exec-{task.name}": {"pvcMount": mounts} for task in tasks}
    return [spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}]


def _check_sayable(task: Task) -> None:
    if task.job is None:
        return
    says = job_says(task.job)
    silent = [key for key in says if key not in _SAYABLE]
    accelerators = task.job.accelerators
    if accelerators is not None and accelerators.topology is not None:
        silent.append("accelerators.topology")
    if silent:
        raise InputError(
            f"a kfp pipeline can say image, accelerators, environment and max_restarts of a step on gke, where of step"
            f" {task.step} has {', '.join(silent)}; leave that out, or pass --export argo"
        )


def _container(task: Task) -> dict[str, Any]:
    placeholder = f"{{{{$.inputs.parameters['{_RECIPE}']}}}}"
    container: dict[str, Any] = {"args": [placeholder], "command": task.command, "image": task.image}
    if task.job is not None and task.job.environment:
        container["env"] = [{"name": name, "value": value} for name, value in task.job.environment.items()]
    resources = _resources(task)
    return {**container, "resources": resources} if resources else container


def _resources(task: Task) -> dict[str, Any]:
    """The numbers are what Vertex AI reads, the texts what newer Kubeflow does."""
    made: dict[str, Any] = {}
    for what, number, text in (
        ("cpu", task.cores, task.cores and str(task.cores)),
        ("memory", task.memory_gb, task.memory),
    ):
        if number is not None:
            for kind in ("Limit", "Request"):
                made |= {f"{what}{kind}": float(number), f"resource{what.title()}{kind}": text}
    if task.job is not None and task.job.accelerators is not None:
        kind, count = task.job.accelerators.kind, str(task.job.accelerators.count)
        made["accelerator"] = {"count": count, "resourceCount": count, "resourceType": kind, "type": kind}
    return made


def _task(task: Task) -> dict[str, Any]:
    return {
        # Whether a step is done is known by its output, not by what was done elsewhere.
        "cachingOptions": {},
        "componentRef": {"name": f"comp-{task.name}"},
        **({"dependentTasks": sorted(task.before)} if task.before else {}),
        "inputs": {"parameters": {_RECIPE: {"componentInputParameter": _RECIPE}}},
        "retryPolicy": {
            "backoffDuration": "0s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "3600s",
            "maxRetryCount": RESTARTS if task.job is None else task.job.max_restarts,
        },
        "taskInfo": {"name": task.step},
    }
