"""The extras: the table agrees with setup.py; a verb without its extra says one line, before it does anything."""

import ast
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clozekit.deploy.cli.main import EXIT_MISSING_EXTRA, main
from clozekit.deploy.cli.parser import build_parser
from clozekit.deploy.submit.platforms import PLATFORMS, load_backend
from clozekit.tokenizers.common.extras import EXTRAS, MissingExtraError, extra_of, require_extras

SETUP = Path(__file__).parents[3] / "setup.py"
# Where a package of the index and its module have other names.
MODULES = {
    "google_cloud_storage": "google.cloud.storage",
    "google_cloud_dataflow_client": "google.cloud.dataflow_v1beta3",
    "google_cloud_aiplatform": "google.cloud.aiplatform_v1",
    "google_cloud_pubsub": "google.cloud.pubsub_v1",
    "mlflow_skinny": "mlflow",
}
# Runs commands in a process in which no module of some extras can be found; a line of JSON for each.
SCRIPT = """
import contextlib, io, json, sys
from importlib.abc import MetaPathFinder
blocked, commands = map(json.loads, sys.argv[1:])
class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from clozekit.deploy.cli.main import main
for words in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def without(extras: Sequence[str], *commands: Sequence[str], folder: Path) -> list[tuple[int, str, str]]:
    """Exit status, standard output and standard error of each command where the extras are not installed."""
    blocked = [module for extra in extras for module in EXTRAS[extra]]
    script = [sys.executable, "-c", SCRIPT, json.dumps(blocked), json.dumps(commands)]
    ran = subprocess.run(script, capture_output=True, text=True, cwd=folder, check=True)
    assert ran.stderr == ""
    return [tuple(json.loads(line)) for line in ran.stdout.splitlines()]


def declared() -> dict[str, list[str]]:
    """Extra -> the modules of its own packages, as setup.py says."""
    tree = ast.parse(SETUP.read_text(encoding="utf-8"))
    lists = {
        node.targets[0].id: [ast.literal_eval(one) for one in node.value.elts if isinstance(one, ast.Constant)]
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List)
    }
    named = {
        name.lower(): [line.partition(">")[0].partition("[")[0] for line in lines] for name, lines in lists.items()
    }
    modules = {name: [line.replace("-", "_") for line in lines] for name, lines in named.items()}
    return {name: [MODULES.get(line, line) for line in lines] for name, lines in modules.items() if name in EXTRAS}


def test_the_table_is_that_of_setup() -> None:
    assert declared() == {name: list(modules) for name, modules in EXTRAS.items()}


# In a process each: what is not installed -> commands that need it, with what they name.
LACKING: dict[tuple[str, ...], list[tuple[list[str], str]]] = {
    ("pipelines",): [
        (["prepare", "--input", "a", "--tokenizer", "b", "--output", "c"], "pipelines"),
        (["vocab", "--input", "a", "--output", "b"], "pipelines"),
        (["inspect", "a"], "pipelines"),
        (["demo"], "pipelines"),
    ],
    ("training",): [
        (["train", "run.yaml"], "training"),
        (["finetune", "init_from=a"], "training"),
        (["demo"], "training"),
    ],
    # These load TensorFlow before they know, together because that takes eight seconds.
    ("gcs", "huggingface", "kaggle", "onnx", "litert"): [
        (["fill", "gs://bucket/preset", "a"], "gcs"),
        (["fill", "hf://owner/model", "a"], "huggingface"),
        (["publish", "a", "hf://owner/model"], "huggingface"),
        (["publish", "a", "kaggle://owner/model/keras/base"], "kaggle"),
        (["convert", "a", "b", "--to", "onnx"], "onnx"),
        (["convert", "a", "b", "--to", "litert"], "litert"),
    ],
}


@pytest.mark.parametrize("extras", LACKING, ids=lambda extras: extras[0])
def test_a_verb_without_its_extra_says_so_in_one_line(extras: tuple[str, ...], tmp_path: Path) -> None:
    commands = [words for words, _ in LACKING[extras]]
    said = without(extras, *commands, folder=tmp_path)
    for (words, needed), (status, out, line) in zip(LACKING[extras], said, strict=True):
        assert (status, out) == (EXIT_MISSING_EXTRA, ""), words
        assert line.startswith(f"clozekit {words[0]}: ")
        assert f"not installed ({', '.join(EXTRAS[needed])}); run: pip install 'clozekit[{needed}]'" in line
        assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_extra_works_without(tmp_path: Path) -> None:
    answers = without(["pipelines", "training"], ["costs", "--corpus-gb", "5"], ["--help"], folder=tmp_path)
    assert [(status, err) for status, _, err in answers] == [(0, ""), (0, "")]


def test_a_module_that_is_missed_late_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'apache_beam.io'", name="apache_beam.io")

    monkeypatch.setattr("clozekit.deploy.cli.costs_command.run", load)
    # The parser that was built before knows the real one.
    monkeypatch.setattr("clozekit.deploy.cli.parser.build_parser", build_parser.__wrapped__)
    assert main(["costs", "--corpus-gb", "5"]) == EXIT_MISSING_EXTRA
    assert "not installed (apache_beam.io); run: pip install 'clozekit[pipelines]'" in capsys.readouterr().err


def test_several_extras_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tfx_bsl", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        require_extras("the demo", "pipelines", "training", "gcs")
    assert str(caught.value) == (
        "the demo needs packages that are not installed (tfx_bsl, tensorboard); run: pip install"
        " 'clozekit[pipelines,training]'"
    )


def test_jobs_name_the_extra_of_their_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name: platform.extras for name, platform in PLATFORMS.items() if platform.extras} == {
        "dataflow": ("pipelines", "gcs", "dataflow"),
        "flink": ("pipelines",),
        "spark": ("pipelines",),
        "vertex": ("vertex",),
    }
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    with pytest.raises(MissingExtraError, match=r"a job for vertex .*'clozekit\[vertex\]'"):
        load_backend("vertex")


def test_the_extra_of_a_module() -> None:
    found = {name: extra_of(name) for name in ("tfx_bsl.coders", "google.cloud.storage", "tensorflow", "ftfyx")}
    assert found == {"tfx_bsl.coders": "pipelines", "google.cloud.storage": "gcs", "tensorflow": None, "ftfyx": None}
