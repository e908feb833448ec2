"""What Kubeflow's own library makes of an exported pipeline, where that library can be imported; a program: SOURCE LOADED TWIN.

LOADED: the pipeline as the library loads and compiles it again. TWIN: the same tasks written in its own language, compiled.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, components, dsl, kubernetes


def component(name: str, container: dict[str, Any]) -> Any:
    def step(recipe: str) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=container["image"], command=container["command"], args=[recipe])

    step.__name__ = name.replace("-", "_")
    return dsl.container_component(step)


def twin(spec: dict[str, Any], platforms: list[dict[str, Any]]) -> Any:
    text = spec["root"]["inputDefinitions"]["parameters"]["recipe"]["defaultValue"]
    executors = {name: one["container"] for name, one in spec["deploymentSpec"]["executors"].items()}

    @dsl.pipeline(name=spec["pipelineInfo"]["name"])
    def pipeline(recipe: str = text) -> None:
        made: dict[str, Any] = {}
        for name, task in spec["root"]["dag"]["tasks"].items():
            container = executors[f"exec-{name}"]
            one = made[name] = component(name, container)(recipe=recipe)
            one.after(*(made[other] for other in task.get("dependentTasks", [])))
            one.set_caching_options(False)
            one.set_retry(task["retryPolicy"]["maxRetryCount"])
            one.set_display_name(task["taskInfo"]["name"])
            resources = container.get("resources", {})
            for what in ("Cpu", "Memory"):
                if f"resource{what}Limit" in resources:
                    getattr(one, f"set_{what.lower()}_limit")(resources[f"resource{what}Limit"])
                    getattr(one, f"set_{what.lower()}_request")(resources[f"resource{what}Request"])
            if "accelerator" in resources:
                one.set_accelerator_type(resources["accelerator"]["type"])
                one.set_accelerator_limit(resources["accelerator"]["count"])
            for variable in container.get("env", []):
                one.set_env_variable(variable["name"], variable["value"])
            for platform in platforms:
                mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][f"exec-{name}"]["pvcMount"]
                for mount in mounts:
                    kubernetes.mount_pvc(one, pvc_name=mount["constant"], mount_path=mount["mountPath"])

    return pipeline


if __name__ == "__main__":
    source, loaded, own = sys.argv[1:]
    compiler.Compiler().compile(components.load_component_from_file(source), loaded)
    first, *others = yaml.safe_load_all(Path(source).read_text(encoding="utf-8"))
    compiler.Compiler().compile(twin(first, others), own)
