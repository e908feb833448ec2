"""The folders import one another as the design says, and every file says first what it is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SEAM = {
    "clozekit.pipelines.records",
    "clozekit.pipelines.manifest",
    "clozekit.pipelines.manifest_schema",
    "clozekit.pipelines.delimited",
    "clozekit.pipelines.json_lines",
    "clozekit.pipelines.open_input",
    "clozekit.pipelines.file_states",
}
# Folder -> what of ours its files may import (its own folder always).
ALLOWED = {
    "tokenizers": set[str](),
    "pipelines": {"clozekit.tokenizers"},
    "model": {"clozekit.tokenizers", *SEAM},
    "deploy": {"clozekit.tokenizers", "clozekit.pipelines", "clozekit.model"},
}
# Folder or file -> packages that none of its files may import.
FORBIDDEN = {
    "tokenizers": {"apache_beam", "keras", "keras_hub"},
    "model": {"apache_beam", "keras_hub"},
    "pipelines/records.py": {"apache_beam"},
    "pipelines/manifest.py": {"apache_beam"},
    "pipelines/manifest_schema.py": {"apache_beam"},
    "pipelines/delimited.py": {"apache_beam"},
    "pipelines/quoted_records.py": {"apache_beam"},
    "pipelines/cut_text.py": {"apache_beam"},
    "pipelines/json_lines.py": {"apache_beam"},
    "pipelines/open_input.py": {"apache_beam"},
    "pipelines": {"keras", "keras_hub"},
    "deploy": {"keras_hub"},
}


def sources() -> list[Path]:
    return sorted(path for folder in ALLOWED for path in (ROOT / folder).rglob("*.py"))


def imported_modules(source: str) -> set[str]:
    """Dotted names of what `source` imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, by the clozekit namespace"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def broken_rules(path: str, source: str) -> list[str]:
    """The imports of `source`, a file at `path` below the root, that the table does not allow."""
    folder = path.split("/")[0]
    allowed = ALLOWED[folder] | {f"clozekit.{folder}"}
    forbidden = set[str]().union(*(names for place, names in FORBIDDEN.items() if path.startswith(place)))
    broken = []
    for name in sorted(imported_modules(source)):
        is_ours = name == "clozekit" or name.startswith("clozekit.")
        if is_ours and not any(name == place or name.startswith(place + ".") for place in allowed):
            broken.append(f"{path} imports {name}")
        if name.split(".")[0] in forbidden:
            broken.append(f"{path} imports {name}")
    return broken


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_table(path: Path) -> None:
    assert broken_rules(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tokenizers/x.py", "from clozekit.pipelines import read"),
        ("tokenizers/x.py", "import keras"),
        ("pipelines/x.py", "from clozekit.model.bert import BertBackbone"),
        ("pipelines/manifest.py", "def f():\n    import apache_beam as beam"),
        ("model/x.py", "from clozekit.pipelines.read import ReadFiles"),
        ("model/training/x.py", "import apache_beam"),
        ("model/x.py", "import clozekit.deploy.cli"),
    ],
)
def test_a_forbidden_import_is_caught(path: str, source: str) -> None:
    assert len(broken_rules(path, source)) == 1


def test_the_seam_is_allowed() -> None:
    assert broken_rules("model/x.py", "from clozekit.pipelines.manifest import Manifest") == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_begins_with_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring is not None
    first_line = docstring.splitlines()[0]
    assert len(first_line) <= 120
    assert first_line.endswith((".", ":"))


def test_no_file_takes_the_name_of_a_standard_module() -> None:
    import sys

    taken = {path.stem for path in sources()} & set(sys.stdlib_module_names)
    assert taken == set()


def test_hugging_face_tokenizers_is_not_shadowed() -> None:
    assert not (ROOT / "tokenizers" / "__init__.py").exists()
    import tokenizers

    assert "site-packages" in str(tokenizers.__file__)
