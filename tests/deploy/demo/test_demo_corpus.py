"""The demo's corpus: docstrings as they stand in source code, each text once, each id once."""

import json
from pathlib import Path

import pytest

from clozekit.deploy.demo import demo_corpus
from clozekit.deploy.demo.demo_corpus import docstrings, source_files, write_corpus

SOURCE = '''
"""About the module."""

def outer(x):
    """Outer,
    and more."""
    def inner():
        "Inner."

class Thing:
    async def method(self):
        """A method."""

def bare():
    return "no docstring"
'''


def test_docstrings_of_everything_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_corpus, "MIN_CHARACTERS", 1)
    assert sorted(docstrings("m", SOURCE)) == [
        ("m", "About the module."),
        ("m.Thing.method", "A method."),
        ("m.outer", "Outer,\nand more."),
        ("m.outer.inner", "Inner."),
    ]


def test_the_sources_are_the_standard_library_and_the_installed_ones() -> None:
    modules = {module for module, _ in source_files()}
    assert {"json.decoder", "numpy.linalg._linalg", "pandas.core.frame", "keras.src.layers.layer"} <= modules
    assert not any(".tests." in module for module in modules)


def test_every_text_and_every_id_stands_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        demo_corpus, "source_files", lambda: [("json", Path(json.__file__)), ("again", Path(json.__file__))]
    )
    documents, size = write_corpus(tmp_path / "corpus" / "c.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "corpus" / "c.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == documents
    assert (tmp_path / "corpus" / "c.jsonl").stat().st_size == size
    assert len({line["id"] for line in lines}) == len({line["text"] for line in lines}) == documents
    assert {"topics/assert", "json.dumps"} <= {line["id"] for line in lines}
    assert not any(line["id"].startswith("again") for line in lines)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["c.jsonl"]
