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


@pytest.mark.parametrize(
    "imports",
    [
        "import clozekit.model, keras",
        "import keras, clozekit.model",
        "from clozekit.model import Backbone; import keras",
    ],
)
def test_a_keras_file_is_loaded_in_a_new_process(imports: str, keras_file: Path) -> None:
    code = f"{imports}; print(type(keras.saving.load_model({str(keras_file)!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "BertMaskedLM\n"
