"""Kubeflow's own library loads what `clozekit run --export kfp` writes, and compiles the same from its own language."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helper_folder import HELPERS

GOLDEN = Path(__file__).parents[1] / "deploy" / "workflow" / "golden"


@pytest.mark.parametrize("name", ["kfp.yaml", "kfp-volume.yaml"])
def test_the_library_loads_and_compiles_the_same(name: str, kfp_folder: Path, tmp_path: Path) -> None:
    words = [
        str(HELPERS / "kfp_twin.py"),
        str(GOLDEN / name),
        str(tmp_path / "loaded.yaml"),
        str(tmp_path / "own.yaml"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(kfp_folder)}
    subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
    pinned, loaded, own = (
        list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        for path in (GOLDEN / name, tmp_path / "loaded.yaml", tmp_path / "own.yaml")
    )
    assert loaded == pinned
    assert own == pinned
