"""What needs no TensorFlow, Keras, Numba or Beam loads none of them: help, versions, settings and what is wrong with them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clozekit.model.presets.lineage import LINEAGE_FILE, lineage_to_json, linked
from clozekit.pipelines.dataset.manifest import Manifest

HEAVY = (
    "tensorflow",
    "keras",
    "numba",
    "apache_beam",
    "tfx_bsl",
    "pandas",
    "scipy",
    "sentencepiece",
    "tokenizers",
    "h5py",
)
SCRIPT = """
import contextlib, io, json, sys
from clozekit.deploy.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    for arguments in json.loads(sys.argv[1]):
        try:
            status = main(arguments)
        except SystemExit as stopped:
            status = stopped.code
        loaded = sorted(set(json.loads(sys.argv[2])) & set(sys.modules))
        print(json.dumps([arguments, status, loaded]), file=sys.stderr)
"""
DATASET = ["--input", "a", "--tokenizer", "b", "--output", "c"]
VERBS = (
    *(
        "demo",
        "vocab",
        "prepare",
        "inspect",
        "verify",
        "export",
        "train",
        "adapt",
        "convert",
        "publish",
        "fill",
        "evaluate",
        "finetune",
    ),
    *("predict", "submit", "doctor", "costs", "watch", "compare", "lineage", "bench"),
)
RUN = "{dataset: ds, model: {num_layers: 1}, train: {steps: 4, global_batch_size: 4}}"


def loaded_by(commands: list[list[str]], folder: Path) -> list[tuple[list[str], int, list[str]]]:
    """(command, exit status, heavy packages loaded so far), one after the other in one process."""
    words = [sys.executable, "-c", SCRIPT, json.dumps(commands), json.dumps(HEAVY)]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=True)
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('[["')]
    assert len(found) == len(commands), done.stderr
    return [tuple(one) for one in found]


def test_help_versions_and_costs_are_light(tmp_path: Path) -> None:
    commands = [["--version"], ["--help"], *([verb, "--help"] for verb in VERBS), ["costs", "--corpus-gb", "5"]]
    assert [(status, loaded) for _, status, loaded in loaded_by(commands, tmp_path)] == [(0, [])] * len(commands)


def test_what_is_wrong_with_settings_is_said_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN, encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("a: [1, 2", encoding="utf-8")
    commands = [
        ["train", "no.yaml"],
        ["train", "broken.yaml"],
        ["train", "run.yaml", "optimizer.nme=adamw"],
        ["train", "run.yaml", "train.steps=many"],
        ["finetune", "nonsense=1"],
        ["finetune", "broken.yaml"],
        ["finetune", "init_from=p", "directory=d", "optimizer.learning_rate=-1"],
        ["adapt", "p", "--input", "a", "--output", "d", "optimizer.learning_rate=-1"],
        ["prepare", *DATASET, "--sequence-length", "3"],
        ["prepare", *DATASET, "--pairs", "never"],
        ["prepare", *DATASET, "--config", "broken.yaml"],
        ["vocab", "--input", "a", "--output", "b", "--vocabulary-size", "99999999"],
        ["evaluate", "p", "--dataset", "d", "--mask-rate", "3"],
        ["export", "a", "b", "--to", "csv"],
        ["fill", "p"],
        ["predict", "p"],
        ["submit", "slurm", "broken.yaml", "--", "train", "run.yaml"],
        ["costs", "--corpus-gb", "nan"],
        ["bench", "--seconds", "0"],
    ]
    assert [(status, loaded) for _, status, loaded in loaded_by(commands, tmp_path)] == [(2, [])] * len(commands)


@pytest.mark.parametrize(
    "code",
    [
        "import clozekit.model",
        "import clozekit.model.training.settings.run_settings",
        "import clozekit.model.training.settings.finetune_settings",
        "import clozekit.pipelines.settings.corpus_file",
        "import clozekit.pipelines.settings.recipe",
        "import clozekit.pipelines.settings.vocabulary_settings",
        "import clozekit.tokenizers.settings.settings_files",
    ],
)
def test_settings_are_light(code: str) -> None:
    code += f"; import sys; print(sorted({set(HEAVY)!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_parser_of_all_verbs_loads_no_library_beyond_pythons_own() -> None:
    """Every `--help` pays for it. Nor `clozekit.model`, which changes how TensorFlow is loaded before --debug is known."""
    code = (
        "import clozekit.deploy.cli.parser, sys;"
        " print(sorted({'clozekit.model', 'fsspec', 'numpy', 'yaml', *%r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code % (HEAVY,)], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_lineage_of_a_preset_loads_nothing_heavy_and_looks_at_all_of_its_files(tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    preset.mkdir()
    for name, text in (("config.json", "{}"), ("model.weights.h5", "weights")):
        (preset / name).write_text(text)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in preset.iterdir()}
    made = linked("preset", {"made_by": "convert", "files": files})
    (preset / LINEAGE_FILE).write_text(lineage_to_json(made))
    # The run that has it as its own is no other case.
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copytree(preset, run / "preset")
    commands = [["lineage", "preset"], ["lineage", "run"], ["lineage", "preset", "--json"]]
    assert [(status, loaded) for _, status, loaded in loaded_by(commands, tmp_path)] == [(0, [])] * 3
    (preset / "model.weights.h5").write_text("others")
    assert [(status, loaded) for _, status, loaded in loaded_by(commands[:1], tmp_path)] == [(2, [])]


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_looking_at_a_dataset_and_verifying_it_loads_nothing_heavy(verb: str, dataset: tuple[str, Manifest]) -> None:
    code = (
        "import sys; from clozekit.deploy.cli.main import main; status = main();"
        f" print(status, sorted(set({HEAVY!r}) & set(sys.modules) - {{'tfx_bsl', 'tokenizers'}}))"
    )
    words = [sys.executable, "-c", code, verb, dataset[0]]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    # Records are read by tfx-bsl's C++, which comes without Beam; files of Hugging Face's library may be read by that.
    assert ran.stdout.splitlines()[-1] == "0 []", ran.stderr


def test_models_are_loaded_without_what_only_keras_would_use_of_it() -> None:
    code = (
        "from clozekit.deploy.quiet_loading import load_tensorflow; import sys; load_tensorflow();"
        " print(sorted({'IPython', 'jax', 'matplotlib', 'scipy.sparse', 'sklearn'} & set(sys.modules)));"
        " import matplotlib; print(matplotlib.__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "matplotlib"]
