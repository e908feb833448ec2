"""Arrow loaded without pandas, which its own functions for tables of pandas still get."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import contextlib, sys
from clozekit.tokenizers.common.hidden_packages import hidden_packages
from clozekit.tokenizers.common.light_arrow import load_arrow_lightly
load_arrow_lightly()
with hidden_packages(("pandas",)) if sys.argv[1] == "hidden" else contextlib.nullcontext():
    import pyarrow as pa
    was_kept = "pandas" in sys.modules
print(was_kept, pa.array([1, 2]).to_numpy(zero_copy_only=False).tolist(), pa.array([[3]]).to_pylist())
print("pandas" in sys.modules)
with contextlib.suppress(Exception):
    pa.array([1]).to_pandas()
import builtins
print(builtins.asked)
"""


@pytest.mark.parametrize("how", ["hidden", "plain"])
def test_pandas_is_loaded_by_what_makes_its_tables_alone(how: str, tmp_path: Path) -> None:
    # A pandas of its name alone: an environment may have none.
    (tmp_path / "pandas.py").write_text('import builtins\nbuiltins.asked = "asked"\n__version__ = "3.0.0"\n')
    search = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search}
    command = [sys.executable, "-c", CODE, how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{how == 'hidden'} [1, 2] [[3]]", "False", "asked"]
