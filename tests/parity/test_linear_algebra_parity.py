"""A function of somebody else multiplies matrices with Numba after our kernels were loaded, where SciPy is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")

CODE = """
from clozekit.tokenizers.kernels.trie import build_trie
build_trie([b"a"], [1])
import numba
import numpy as np
multiply = numba.njit(lambda first, second: np.dot(first, second))
print(multiply(np.eye(2), np.full((2, 2), 3.0)).tolist())
"""


def test_numba_multiplies_matrices_after_our_kernels_were_loaded(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[[3.0, 3.0], [3.0, 3.0]]"]
