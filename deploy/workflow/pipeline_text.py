"""The file of an exported recipe: its format's documents as YAML, below a line that says who wrote it."""

import yaml

from clozekit.deploy.workflow.argo_workflow import argo_workflow
from clozekit.deploy.workflow.exported_tasks import ExportedRecipe
from clozekit.deploy.workflow.kfp_pipeline import kfp_pipeline

# What every such file begins with.
MARK = "# Written by `clozekit run --export"
_WRITERS = {"kfp": kfp_pipeline, "argo": argo_workflow}
_USE = {
    "kfp": "Kubeflow Pipelines and Vertex AI Pipelines take it as a pipeline; its parameter `recipe` is what every task runs",
    "argo": "argo submit FILE, or kubectl create -f FILE; its parameter `recipe` is what every task runs",
}


def pipeline_text(exported: ExportedRecipe, format_name: str) -> str:
    """The text of the file. format_name: kfp or argo."""
    documents = _WRITERS[format_name](exported)
    head = f"{MARK} {format_name}`. {_USE[format_name]}.\n"
    return head + yaml.dump_all(documents, Dumper=_Blocks, sort_keys=False, width=1 << 30)


class _Blocks(yaml.SafeDumper):
    """Writes what has lines as lines, so that the recipe can be read, and lists that stand twice twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Blocks.add_representer(str, _text_node)
