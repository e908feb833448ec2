"""A recipe as tasks of somebody else's pipeline: each runs one step by `clozekit run --only` from the recipe as it stood."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clozekit.deploy.submit.job_spec import Job, changed_fields
from clozekit.deploy.workflow.plan_steps import WordsOf, check_settings, job_of
from clozekit.deploy.workflow.references import references_in
from clozekit.deploy.workflow.step_inputs import find_values, may_be_built_in
from clozekit.deploy.workflow.workflow_file import Step, Workflow
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import check, make_settings
from clozekit.tokenizers.settings.yaml_values import shown
from clozekit.tokenizers.storage.file_systems import is_local, is_url, open_file_system

# A name of Kubernetes has 63 characters; the formats put some before and behind a task's.
_MOST_CHARACTERS = 40
# Of platforms on which a worker's image has the command.
_IMAGES_OF = ("gke", "vertex", "tpu")
# The recipe is the second word, so that no shell reads it; the command takes the place of the shell, so that signals reach it.
SCRIPT = 'file="${{TMPDIR:-/tmp}}/clozekit-recipe.yaml" && printf %s "$1" > "$file" && exec clozekit run "$file" --only {step}'
# As often a step is begun again that a signal stopped, or whose machine was taken away.
RESTARTS = 3


@dataclass(frozen=True)
class Task:
    """A step as a task.

    name: of letters, digits and dashes; before: tasks that come first; image: of its container; cores, memory_gb: that it
    takes, None where it does not say; job: what `where` says of a step of one worker on GKE, whose task is its own pod.
    """

    step: str
    name: str
    before: tuple[str, ...]
    image: str
    cores: int | None = None
    memory_gb: float | None = None
    job: Job | None = None

    @property
    def command(self) -> list[str]:
        """The command of its container; the recipe comes behind it, as the last word."""
        return ["/bin/sh", "-c", SCRIPT.format(step=self.step), "clozekit-step"]

    @property
    def memory(self) -> str | None:
        """memory_gb as Kubernetes writes it."""
        if self.memory_gb is None:
            return None
        whole = float(self.memory_gb).is_integer()
        return f"{int(self.memory_gb)}G" if whole else f"{round(self.memory_gb * 1000)}M"


@dataclass(frozen=True)
class ExportedRecipe:
    """name: of the pipeline; recipe: the keys of the recipe that every task gets; volumes: persistent volume claim -> where every task has it."""

    name: str
    recipe: Mapping[str, Any]
    tasks: tuple[Task, ...]
    volumes: Mapping[str, str]


def exported(
    workflow: Workflow, until: str | None, image: str | None, volumes: Mapping[str, str], words_of: WordsOf
) -> ExportedRecipe:
    """The recipe, with its changes, as tasks. image: of those that name none. Looks at no bucket.

    Raises InputError for what `clozekit run` would refuse, and for what other machines could not see.
    """
    steps = workflow.needed_for(until)
    for claim, path in volumes.items():
        rule = "--volume must be CLAIM=/PATH"
        check(rule, bool(re.fullmatch(r"[a-z0-9.-]+", claim)) and path.startswith("/"), f"{claim}={path}")
    _check_output(workflow, volumes)
    check_settings(workflow, until, words_of, volumes)
    images = [str(step.where["image"]) for step in steps if _has_image(step)]
    image = image or next(iter(images), None)
    if image is None:
        raise InputError(
            f"every task needs a container image with Clozekit, {workflow.source} names none; pass --image IMAGE"
            " (deploy/docker/README.md says how to build one)"
        )
    names = _task_names(steps, workflow.source)
    tasks = []
    for step in steps:
        _check_inputs(step, workflow.source)
        job = _own_pod(step, workflow.source)
        tasks.append(
            Task(
                step.name,
                names[step.name],
                tuple(names[name] for name in step.before),
                image if job is None else job.image or image,
                None if step.where else step.needs.cores,
                None if step.where else step.needs.memory_gb,
                job,
            )
        )
    name = re.sub(r"[^a-z0-9]+", "-", Path(workflow.source).stem.lower()).strip("-")[:_MOST_CHARACTERS].strip("-")
    return ExportedRecipe(f"clozekit-{name}".rstrip("-"), _whole_recipe(workflow, tasks), tuple(tasks), volumes)


def recipe_text(recipe: Mapping[str, Any], in_one_line: bool = False) -> str:
    r"""The YAML of a recipe: plain ASCII, with none of the signs that Argo, Kubeflow or Kubernetes replace, which are two opening
    braces, and a dollar before a parenthesis.

    Example:

        >>> from clozekit.deploy.workflow.exported_tasks import recipe_text
        >>> recipe_text({"output": "gs://bucket/{{x}}", "steps": {}}, in_one_line=True)
        '{output: "gs://bucket/{\\x7bx}}", steps: {}}'
    """
    text = yaml.dump(dict(recipe), Dumper=_Dumper, sort_keys=False, width=1 << 30, default_flow_style=in_one_line)
    text = text.replace("{{", "{\\x7b").replace("$(", "$\\x28")
    return text.rstrip("\n") if in_one_line else text


def _whole_recipe(workflow: Workflow, tasks: list[Task]) -> dict[str, Any]:
    """The recipe with nothing left out of it that lies elsewhere: values, `from` and changes are in it.

    What a step takes of a machine is the format's to say, not the recipe's: a pod is not the place where several run side by side.
    """
    steps: dict[str, Any] = {}
    for task in tasks:
        step = workflow.steps[task.step]
        made: dict[str, Any] = {step.verb: step.block}
        if step.after:
            made["after"] = list(step.after)
        if step.options:
            made["options"] = list(step.options)
        if step.where and task.job is None:
            made["where"] = dict(step.where)
        steps[step.name] = made
    return {"output": workflow.output, "steps": steps}


class _Dumper(yaml.SafeDumper):
    """Puts texts between double quotes, where signs can be written by their numbers, when they hold some of other meaning."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    quoted = "{{" in value or "$(" in value or "\n" in value
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if quoted else None)


_Dumper.add_representer(str, _text_node)
# Settings read from a file hold lists; those made here may hold tuples.
_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_list(list(value)))


def _check_output(workflow: Workflow, volumes: Mapping[str, str]) -> None:
    output = workflow.output
    if is_url(output) and not is_local(open_file_system(output)[0]) and not output.startswith("memory://"):
        return
    # Vertex AI mounts all buckets there.
    mounted = (*volumes.values(), "/gcs")
    if any(output.startswith(f"{path.rstrip('/')}/") for path in mounted):
        return
    raise InputError(
        f"output of a pipeline must be where all its pods see it, got {shown(output)}; pass output=gs://bucket/folder, or an"
        " absolute path in a volume, --volume CLAIM=/PATH"
    )


def _check_inputs(step: Step, source: str) -> None:
    """Raises InputError for what a step reads that only this machine has: paths that do not begin at the root."""
    for key, value in find_values(step.block, step.kind.inputs):
        for text in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(text, str) or any(references_in(text)) or is_url(text) or text.startswith("/"):
                continue
            if not may_be_built_in(key) or Path(text).exists() or "/" in text:
                raise InputError(
                    f"what a step of a pipeline reads must be where all its pods see it, {key} of step {step.name} of {source} is"
                    f" {shown(text)}; pass a URL, or an absolute path in a volume"
                )


def _has_image(step: Step) -> bool:
    return step.where.get("platform") in _IMAGES_OF and step.where.get("image") is not None


def _task_names(steps: list[Step], source: str) -> dict[str, str]:
    names = {step.name: step.name.replace("_", "-").strip("-") for step in steps}
    for name, task in names.items():
        fits = len(task) <= _MOST_CHARACTERS and list(names.values()).count(task) == 1
        rule = f"a step of a pipeline has a name of its own of at most {_MOST_CHARACTERS} characters, _ and - being one, in {source}"
        check(rule, fits, name)
    return names


def _own_pod(step: Step, source: str) -> Job | None:
    """The job of a step whose task is the pod that it asks for; None for any other step."""
    platform = step.where.get("platform")
    if platform == "slurm":
        raise InputError(
            f"a pod can submit to any platform but slurm, whose commands are on its own machines; where of step {step.name} of"
            f" {source} is slurm: run that step there with `clozekit run --only {step.name}`, or take `where` out"
        )
    if platform != "gke":
        return None
    job = make_settings(Job, job_of(step, "0" * 64, ""), f"where of step {step.name} of {source}")
    rule = f"where of step {step.name} of {source} must leave two opening braces out of environment"
    check(rule, not any("{{" in value for value in job.environment.values()), dict(job.environment))
    return job if job.num_workers == 1 else None


def job_says(job: Job) -> dict[str, Any]:
    """The keys of a job that are not at their defaults, without its name and image."""
    return {key: value for key, value in changed_fields(job).items() if key not in ("name", "image")}
