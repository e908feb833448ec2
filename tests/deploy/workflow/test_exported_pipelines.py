"""A recipe as a pipeline of Kubeflow or Argo: pinned files that hold against their own libraries, whose tasks do the recipe.

After a wanted change: CLOZEKIT_WRITE_GOLDEN=1 pytest tests/deploy/workflow/test_exported_pipelines.py, and read the difference.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helper_folder import HELPERS
from workflows import RECIPE, STAND_IN, inside, journal, look_at, words_of

from clozekit.deploy.cli.main import main
from clozekit.deploy.workflow.exported_tasks import exported, recipe_text
from clozekit.deploy.workflow.workflow_file import Workflow, load_workflow, make_workflow
from clozekit.tokenizers.common.errors import InputError

LIMIT_SECONDS = 60
GOLDEN = Path(__file__).parent / "golden"
IMAGE = "registry/clozekit:0.1.0"
VOLUME = ("output=/mnt/shared/out", "--volume", "data=/mnt/shared")
# File -> the words behind the recipe.
CASES = {
    "kfp.yaml": ("--export", "kfp", "--image", IMAGE),
    "kfp-volume.yaml": ("--export", "kfp", "--image", IMAGE, *VOLUME, "--until", "words"),
    "argo.yaml": ("--export", "argo", "--image", IMAGE),
    "argo-volume.yaml": (
        *("--export", "argo", "--image", IMAGE, *VOLUME, "--until", "model_a"),
        *("steps.model_a.where.provisioning=spot", "steps.model_a.where.kubernetes={queue: training}"),
        *("steps.model_a.where.budget={hours: 2}", "steps.model_a.where.machine=g2-standard-24"),
    ),
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GOLDEN / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", CASES)
def test_what_is_exported_is_what_is_pinned(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    written = GOLDEN / name if os.environ.get("CLOZEKIT_WRITE_GOLDEN") else tmp_path / name
    assert main(["run", "recipe.yaml", *CASES[name], "--to", str(written)]) == 0
    assert written.read_text(encoding="utf-8") == (GOLDEN / name).read_text(encoding="utf-8")


# hera changes how YAML is written in its whole process, so it has one of its own.
HERA = """
import sys
import yaml
from hera.workflows import Workflow
from hera.workflows.models import Workflow as Model

def through_models(found):
    return Model.model_validate(found).model_dump(by_alias=True, exclude_none=True, mode="json")

for path in sys.argv[1:]:
    found = yaml.safe_load(open(path, encoding="utf-8"))
    assert through_models(found) == found
    assert yaml.safe_load(Workflow.from_file(path).to_yaml()) == found
    # They pass over what they do not know, so all of it must come back.
    template = found["spec"]["templates"][1]
    template["retryStrategies"] = template.pop("retryStrategy")
    assert through_models(found) != found
"""


def test_argos_own_models_know_every_field() -> None:
    if importlib.util.find_spec("hera") is None:
        pytest.skip("Argo's library (hera) is not installed")
    paths = [str(GOLDEN / name) for name in CASES if name.startswith("argo")]
    ran = subprocess.run([sys.executable, "-c", HERA, *paths], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("argo")])
def test_kubernetes_knows_every_field_of_argos_pods(name: str) -> None:
    spec = documents(name)[0]["spec"]
    for template in spec["templates"][1:]:
        pod = {
            "containers": [{"name": "main", **template["container"]}],
            "volumes": [*spec.get("volumes", []), *template.get("volumes", [])],
            **{
                key: template[key]
                for key in ("nodeSelector", "tolerations", "activeDeadlineSeconds")
                if key in template
            },
            **json.loads(spec["podSpecPatch"]),
        }
        found = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "step"}, "spec": pod}
        kubernetes_validate.validate(found, "1.33", strict=True)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("kfp")])
def test_kubeflows_own_message_knows_every_field(name: str) -> None:
    spec_pb2 = pytest.importorskip("kfp.pipeline_spec.pipeline_spec_pb2", reason="kfp-pipeline-spec is not installed")
    from google.protobuf import json_format

    found, *platform = documents(name)
    message = json_format.ParseDict(found, spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(message) == found
    for one in platform:
        json_format.ParseDict(one, spec_pb2.PlatformSpec())
    found["root"]["dag"]["tasks"]["words"]["dependentTask"] = []
    with pytest.raises(json_format.ParseError, match="dependentTask"):
        json_format.ParseDict(found, spec_pb2.PipelineSpec())


def tasks_of(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Task -> those before it, and the words of its container with the recipe in its place, in an order in which they can run."""
    (found, *_) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    made = {}
    if found.get("kind") == "Workflow":
        recipe = found["spec"]["arguments"]["parameters"][0]["value"]
        graph, *templates = found["spec"]["templates"]
        containers = {one["name"]: one["container"] for one in templates}
        for task in graph["dag"]["tasks"]:
            container = containers[task["template"]]
            assert container["args"] == ["{{workflow.parameters.recipe}}"]
            made[task["name"]] = (task.get("dependencies", []), [*container["command"], recipe])
        return made
    recipe = found["root"]["inputDefinitions"]["parameters"]["recipe"]["defaultValue"]
    for name, task in found["root"]["dag"]["tasks"].items():
        label = found["components"][task["componentRef"]["name"]]["executorLabel"]
        container = found["deploymentSpec"]["executors"][label]["container"]
        assert container["args"] == ["{{$.inputs.parameters['recipe']}}"]
        made[name] = (task.get("dependentTasks", []), [*container["command"], recipe])
    return made


# The command as a container has it, whose steps are the stand-in of the tests.
PROGRAM = """#!{python}
import sys
from clozekit.deploy.cli.main import main
from clozekit.deploy.workflow import step_process
step_process.PROGRAM = {program!r}
sys.exit(main())
"""


class Pods:
    """Runs the commands of tasks as an orchestrator would, each in a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[str]]()
        programs = folder / "bin"
        programs.mkdir()
        (programs / "clozekit").write_text(PROGRAM.format(python=sys.executable, program=STAND_IN))
        (programs / "clozekit").chmod(0o755)
        (folder / "orders.json").write_text("{}")
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")]),
            "CLOZEKIT_TEST_ORDERS": str(folder / "orders.json"),
            "CLOZEKIT_TEST_JOURNAL": str(folder / "journal.txt"),
        }

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        place = self.folder / f"pod-{len(self.started)}"
        place.mkdir()
        self.started.append(
            subprocess.Popen(
                words,
                env={**self.environment, "TMPDIR": str(place)},
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return self.started[-1]

    def run(self, words: list[str]) -> str:
        pod = self.start(words)
        out, err = pod.communicate()
        assert pod.returncode == 0, err
        return out


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    made = Pods(tmp_path)
    yield made
    for one in made.started:
        one.kill()
        one.communicate()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The workflow of the other tests, where every pod sees it; without the function of one's own, which is in no image."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "0.txt").write_text("a document")
    (tmp_path / "more.txt").write_text("one\tmore")
    text = json.dumps({**RECIPE, "output": "OUT"})
    for name in ("docs", "docs/*.txt", "more.txt"):
        text = text.replace(json.dumps(name), json.dumps(str(tmp_path / name)))
    fields = json.loads(text.replace("OUT", str(tmp_path / "out")))
    del fields["steps"]["model"]["train"]["objective"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    return tmp_path


def export(folder: Path, kind: str) -> dict[str, tuple[list[str], list[str]]]:
    words = ["--export", kind, "--to", str(folder / f"{kind}.yaml"), "--image", IMAGE, "--volume", f"data={folder}"]
    assert main(["run", str(folder / "recipe.yaml"), *words]) == 0
    return tasks_of(folder / f"{kind}.yaml")


@pytest.mark.parametrize("kind", ["kfp", "argo"])
def test_the_tasks_do_what_the_recipe_says_and_a_second_time_nothing(kind: str, recipe: Path, pods: Pods) -> None:
    tasks = export(recipe, kind)
    assert {name: set(before) for name, (before, _) in tasks.items()} == {
        "words": set(),
        "data": {"words"},
        "model": {"data"},
        "score": {"model", "data"},
        "labels": {"model"},
        "check": {"labels"},
    }
    for _, words in tasks.values():
        pods.run(words)
    assert [one.is_done for one in look_at(recipe)] == [True] * 6
    began = [line for line in journal(recipe) if line.startswith("begun")]
    assert len(began) == 6
    # Whatever ran last, the page has every step.
    assert (recipe / "out" / "report.html").read_text().count("<tr>") == 7
    for name in ("words", "check"):
        assert pods.run(tasks[name][1]).splitlines()[-1].split()[:2] == [name, "skipped"]
    assert [line for line in journal(recipe) if line.startswith("begun")] == began


def wait_until(holds: Callable[[], bool], *running: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < end and all(one.poll() is None for one in running)
        time.sleep(0.01)


def test_two_steps_run_side_by_side_in_one_folder(recipe: Path, pods: Pods) -> None:
    tasks = export(recipe, "argo")
    for name in ("words", "data", "model"):
        pods.run(tasks[name][1])
    go = str(recipe / "go")
    (recipe / "orders.json").write_text(json.dumps({"score": {"until": go}, "labels": {"until": go}}))
    both = [pods.start(tasks[name][1]) for name in ("score", "labels")]
    wait_until(lambda: sum(line.startswith("begun") for line in journal(recipe)) == 5, *both)
    (recipe / "go").touch()
    assert [one.wait() for one in both] == [0, 0]


def test_two_pods_that_have_one_step_do_it_once(recipe: Path, pods: Pods) -> None:
    """As when a pod that was taken for lost still runs."""
    tasks = export(recipe, "argo")
    (recipe / "orders.json").write_text(json.dumps({"words": {"until": str(recipe / "go")}}))
    first = pods.start(tasks["words"][1])
    wait_until(lambda: bool(journal(recipe)), first)
    (facts,) = recipe.glob("out/steps/words-*/facts.json")
    written = facts.stat().st_ino
    second = pods.start(tasks["words"][1])
    # It has come so far that it would begin.
    wait_until(lambda: facts.stat().st_ino != written, first, second)
    (recipe / "go").touch()
    assert [one.wait() for one in (first, second)] == [0, 0]
    assert sum(line.startswith("begun") for line in journal(recipe)) == 1


def test_a_step_waits_for_nobody_it_says_what_is_missing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe / "recipe.yaml"), "--only", "data"]) == 2
    assert capsys.readouterr().err == (
        "clozekit run: --only does a step when those that it needs are done, data needs words, which is not: it was not made"
        " yet; run that first, or run with --until data\n"
    )
    assert not (recipe / "out").exists()


ODD = [
    "{{workflow.name}} {{{ {{",
    "$(HOME) $$(HOME) `id` $HOME",
    "'single' \"double\" \\ \\{{ \\n",
    "two\nlines\n",
    "  spaces  ",
    "\ttab: # no comment",
    "ä 中 😀 \x7f \x85 \u2028",
    "1e-3",
    "yes",
    "- item",
    "%s %d",
    "${not.closed",
]


def with_odd_signs(workflow: Workflow) -> Workflow:
    """Of which no command is asked whether it would take them."""
    steps = {**workflow.steps}
    odd = {"values": ODD, **{text: number for number, text in enumerate(ODD)}}
    steps["words"] = replace(steps["words"], block={**steps["words"].block, "odd": odd}, options=tuple(ODD))
    return replace(workflow, steps=steps)


@pytest.mark.parametrize("in_one_line", [False, True])
def test_all_signs_of_a_recipe_arrive(
    in_one_line: bool, recipe: Path, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = with_odd_signs(load_workflow(str(recipe / "recipe.yaml")))
    monkeypatch.setattr("clozekit.deploy.workflow.exported_tasks.check_settings", lambda *_: None)
    made = exported(workflow, None, IMAGE, {"data": str(recipe)}, words_of)
    text = recipe_text(made.recipe, in_one_line)
    assert text.isascii() and "{{" not in text and "$(" not in text and ("\n" not in text) == in_one_line
    (recipe / "bin" / "clozekit").write_text('#!/bin/sh\ncp "$2" "$1.yaml"; shift 2; echo "$@"\n')
    assert pods.run([*made.tasks[0].command, text]) == "--only words\n"
    arrived = (recipe / "pod-0" / "run.yaml").read_text(encoding="utf-8")
    assert arrived == text
    again = make_workflow(yaml.safe_load(arrived), [], workflow.source)
    assert {name: (one.block, one.after, one.options) for name, one in again.steps.items()} == {
        name: (one.block, one.after, one.options) for name, one in workflow.steps.items()
    }


def test_fingerprints_are_those_of_the_recipe(recipe: Path) -> None:
    before = [one.fingerprint for one in look_at(recipe, "model.train.steps=7")]
    workflow = load_workflow(str(recipe / "recipe.yaml"), ["model.train.steps=7"])
    made = exported(workflow, None, IMAGE, {"data": str(recipe)}, words_of)
    (recipe / "recipe.yaml").write_text(recipe_text(made.recipe))
    assert [one.fingerprint for one in look_at(recipe)] == before


REFUSED = {
    "output=out": "output of a pipeline must be where all its pods see it, got 'out';",
    "output=/elsewhere/out": "output of a pipeline must be where all its pods see it, got '/elsewhere/out';",
    "words.read.inputs=[docs]": "read.inputs of step words of recipe.yaml is 'docs'; pass a URL",
    "data.tokenizer=here/tokenizer": "tokenizer of step data of recipe.yaml is 'here/tokenizer'; pass a URL",
    "steps.large.where={platform: slurm}": "a pod can submit to any platform but slurm",
    "steps.model_a.where.machine=g2-standard-24": "of step model_a has machine; leave that out, or pass --export argo",
    "steps.model_a.where.environment={A: '{{b}}'}": "must leave two opening braces out of environment",
    "words.vocabulary_size=-1": "vocabulary size must be at least 0",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_pods_could_not_do_is_refused_in_one_line(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with inside(GOLDEN):
        words = ["run", "recipe.yaml", change, "--export", "kfp", "--to", str(tmp_path / "p.yaml")]
        assert main(words) == 2
    error = capsys.readouterr().err
    assert REFUSED[change] in error and error.count("\n") == 1
    assert not (tmp_path / "p.yaml").exists()


OPTIONS = {
    ("--to", "p.yaml"): "--to belongs to --export, which is not given; add --export kfp|argo",
    ("--export", "kfp"): "--export writes a file, --to does not name one; add --to FILE.yaml",
    ("--export", "kfp", "--to", "p.yaml", "--dry-run"): "--export runs nothing, got --dry-run with it;",
    ("--only", "data", "--until", "data"): "--only runs one step, --until those before it too, got both;",
    ("--export", "kfp", "--to", "p.yaml", "--volume", "x"): "--volume must be CLAIM=/PATH, got x;",
    ("--only", "no", "steps.words.needs=null"): "--until and --only take a step, which are words, data,",
}


@pytest.mark.parametrize("words", OPTIONS)
def test_options_that_do_not_go_together_are_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with inside(GOLDEN):
        assert main(["run", "recipe.yaml", *words]) == 2
    assert OPTIONS[words] in capsys.readouterr().err


def test_a_recipe_without_an_image_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--export", "argo", "--to", str(recipe / "p.yaml"), "--volume", f"data={recipe}"]
    assert main(["run", str(recipe / "recipe.yaml"), *words]) == 2
    assert "every task needs a container image with Clozekit" in capsys.readouterr().err


def test_steps_of_one_name_in_a_pipeline_are_refused() -> None:
    steps = {name: {"vocab": {"read": {"inputs": ["gs://b/c"]}}} for name in ("a_b", "a-b")}
    workflow = make_workflow({"output": "gs://b/out", "steps": steps}, [], "r.yaml")
    with pytest.raises(InputError, match="a step of a pipeline has a name of its own"):
        exported(workflow, None, IMAGE, {}, words_of)


def test_only_what_export_wrote_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "p.yaml"
    with inside(GOLDEN):
        words = ["run", "recipe.yaml", *CASES["kfp.yaml"], "--to", str(target)]
        assert [main(words), main(words)] == [0, 0]
        target.write_text("mine: 1\n")
        capsys.readouterr()
        assert main(words) == 2
    assert "--to is a new file, or one that `clozekit run --export` wrote" in capsys.readouterr().err
    assert target.read_text() == "mine: 1\n"


def test_a_step_may_need_more_cores_than_are_here(tmp_path: Path) -> None:
    target = tmp_path / "p.yaml"
    with inside(GOLDEN):
        words = ["run", "recipe.yaml", "steps.words.needs.cores=512", *CASES["kfp.yaml"], "--to", str(target)]
        assert main(words) == 0
    (found,) = yaml.safe_load_all(target.read_text())
    assert found["deploymentSpec"]["executors"]["exec-words"]["container"]["resources"]["cpuLimit"] == 512.0
