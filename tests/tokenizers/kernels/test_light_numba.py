"""Kernels load Numba without SciPy's linear algebra, which functions of somebody else still get."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from clozekit.tokenizers.kernels.trie import build_trie
build_trie([b"a"], [1])
print("scipy" in sys.modules, "scipy.linalg.cython_blas" in sys.modules)
from numba.np import linalg
linalg.ensure_blas()
print("scipy.linalg.cython_blas" in sys.modules)
"""


def test_linear_algebra_is_loaded_by_those_who_ask_for_it(tmp_path: Path) -> None:
    # A SciPy of names alone, as much of it as Numba looks at: the tests' environment has none, a user's may.
    for name, text in (
        ("scipy/__init__.py", '__version__ = "1.17.1"\n'),
        ("scipy/linalg/__init__.py", ""),
        ("scipy/linalg/cython_blas.py", ""),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    search = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True False", "True"]
