"""Arrow loaded without pandas, in processes that are all ours, and pandas there for who asks for it later."""

import subprocess
import sys
from pathlib import Path

import pytest

from clozekit.pipelines.dataset.manifest import Manifest

CODE = """
import sys
from clozekit.tokenizers.common.light_arrow import load_arrow_lightly
load_arrow_lightly()
import numpy as np
import pyarrow as pa
print(pa.array([1, 2]).to_pylist(), pa.array(np.arange(2)).to_numpy().tolist(), "pandas" in sys.modules)
import pandas
print(pandas.Series([3]).tolist())
"""


def said(*words: str) -> str:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout


def test_arrow_does_not_load_pandas_and_others_can() -> None:
    assert said("-c", CODE) == "[1, 2] [0, 1] False\n[3]\n"


@pytest.mark.parametrize("verb", ["inspect", "verify", "export"])
def test_a_verb_of_the_commands_own_process_alone_does_without_pandas(
    verb: str, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    code = "import sys; from clozekit.deploy.cli.main import main; assert main({}) == 0; print('pandas' in sys.modules)"
    out = [str(tmp_path / "out"), "--to", "parquet"] if verb == "export" else []
    words = [verb, dataset[0], *out]
    assert said("-c", code.format("None"), *words).splitlines()[-1] == "False"
    assert said("-c", code.format(repr([*words, *["--overwrite"][: len(out)]]))).splitlines()[-1] == "True"
