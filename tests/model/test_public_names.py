"""The public names are loaded when they are used, and Keras finds their classes whoever was imported first."""

import subprocess
import sys
from pathlib import Path

import pytest
import small_families as small

import clozekit.model


def test_every_name_is_there() -> None:
    assert set(clozekit.model._MODULES) == set(clozekit.model.__all__) <= set(dir(clozekit.model))
    for name in clozekit.model.__all__:
        assert getattr(clozekit.model, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'clozekit.model' has no attribute 'BertModel'"):
        getattr(clozekit.model, "BertModel")  # noqa: B009


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    small.masked_lm("bert", small.masked_lm_preprocessor("bert")).save(path)
    return path


IMPORTS = [
    "import clozekit.model, keras",
    "import keras, clozekit.model",
    "from clozekit.model import Backbone; import keras",
]
# TensorFlow imports Keras where it finds it: it comes first and finds none, which saves each process its own TensorFlow.
LOADING = """
import os, sys
sys.modules["keras"] = None
import tensorflow
del sys.modules["keras"]
assert not [name for name in sys.modules if name.partition(".")[0] in ("keras", "clozekit")]
for imports in sys.argv[2:]:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    try:
        exec(imports)
        said = type(keras.saving.load_model(sys.argv[1])).__name__
    except BaseException as error:
        said = repr(error)
    print(said.replace("\\n", " "), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def loaded(keras_file: Path) -> dict[str, str]:
    """Imports -> what a process that begins with them says of the file."""
    command = [sys.executable, "-c", LOADING, str(keras_file), *IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == len(IMPORTS), done.stdout + done.stderr
    return dict(zip(IMPORTS, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("imports", IMPORTS)
def test_a_keras_file_is_loaded_in_a_new_process(imports: str, loaded: dict[str, str]) -> None:
    assert loaded[imports] == "BertMaskedLM"
