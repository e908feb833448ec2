"""The benchmarks, which no other test runs: what they take from Clozekit is there under the name they have for it."""

import ast
import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parent / "benchmarks").glob("*.py"))


def taken_from_us(path: Path) -> list[tuple[str, str]]:
    """(Module, name) of each import, in functions too."""
    imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").startswith("clozekit.")]
    return [(str(node.module), alias.name) for node in ours for alias in node.names]


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_takes_names_that_are_there(path: Path) -> None:
    for module, name in taken_from_us(path):
        loaded = importlib.import_module(module)
        assert hasattr(loaded, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"


def test_all_benchmarks_are_looked_at() -> None:
    assert len(BENCHMARKS) > 25 and sum(len(taken_from_us(path)) for path in BENCHMARKS) > 60
