"""Arrow loaded without pandas, in processes that are all ours, and pandas there for who asks for it later."""

import subprocess
import sys
from pathlib import Path

import pytest

from clozekit.pipelines.dataset.manifest import Manifest

CODE = """
import contextlib, sys
from clozekit.tokenizers.common.hidden_packages import hidden_packages
from clozekit.tokenizers.common.light_arrow import load_arrow_lightly
load_arrow_lightly()
with hidden_packages(("pandas",)) if sys.argv[1] == "hidden" else contextlib.nullcontext():
    import numpy as np
    import pyarrow as pa
print(pa.array([1, 2]).to_pylist(), pa.array(np.arange(2)).to_numpy().tolist(), "pandas" in sys.modules)
"""
LATER = {
    # A missing value is null in a series alone.
    "a series": "import pandas; print(pa.array(pandas.Series([0.5, None])).to_pylist())",
    "a table": "print(pa.table({'a': [0.5, None]}).to_pandas().a.isna().tolist())",
}
WANTED = {"a series": "[0.5, None]", "a table": "[False, True]"}


def said(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("how", ["hidden", "plain"])
def test_arrow_does_not_load_pandas_and_knows_it_when_others_do(how: str, later: str) -> None:
    assert said("-c", CODE + LATER[later], how) == f"[1, 2] [0, 1] False\n{WANTED[later]}\n"


@pytest.mark.parametrize("verb", ["inspect", "verify", "export"])
def test_a_verb_of_the_commands_own_process_alone_does_without_pandas(
    verb: str, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    code = "import sys; from clozekit.deploy.cli.main import main; assert main({}) == 0; print('pandas' in sys.modules)"
    out = [str(tmp_path / "out"), "--to", "parquet"] if verb == "export" else []
    words = [verb, dataset[0], *out]
    assert said("-c", code.format("None"), *words).splitlines()[-1] == "False"
    assert said("-c", code.format(repr([*words, *["--overwrite"][: len(out)]]))).splitlines()[-1] == "True"
