"""Kernels load Numba without SciPy's linear algebra, which functions of somebody else still get."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from clozekit.tokenizers.kernels.trie import build_trie
build_trie([b"a"], [1])
print("scipy.linalg" in sys.modules)
import numba
import numpy as np
multiply = numba.njit(lambda first, second: np.dot(first, second))
print(multiply(np.eye(2), np.full((2, 2), 3.0)).tolist(), "scipy.linalg" in sys.modules)
"""


def test_linear_algebra_is_loaded_by_those_who_multiply_matrices(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False", "[[3.0, 3.0], [3.0, 3.0]] True"]
