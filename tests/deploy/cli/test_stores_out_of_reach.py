"""A store that can't be reached is asked once, and the command says so: its client takes half a minute for each answer."""

from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from fsspec.registry import _registry

from clozekit.deploy.cli.main import main
from clozekit.tokenizers.storage import reachable
from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

FAR = "outofreach://bucket"


class FarFileSystem(fsspec.AbstractFileSystem):
    """One that nobody can ask."""

    protocol = "outofreach"
    asked: list[str] = []
    cachable = False

    def info(self, path: str, **_: Any) -> Any:
        self.asked.append(path)
        raise ConnectionError("Name or service not known")

    def ls(self, path: str, **_: Any) -> Any:
        return self.info(path)

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        return self.info(path)

    def mkdirs(self, *_: Any, **__: Any) -> None:
        return self.info("mkdirs")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store was asked for."""
    monkeypatch.setitem(_registry, FarFileSystem.protocol, FarFileSystem)
    monkeypatch.setattr(FarFileSystem, "asked", [])
    return FarFileSystem.asked


READ = {"read": {"inputs": [f"{FAR}/docs/*.txt"]}}
FILES = {
    "prepare.yaml": {"tokenizer": "bert_tiny_en_uncased", "output": "dataset", **READ},
    "train.yaml": {"dataset": f"{FAR}/d", "directory": "r", "train": {"steps": 1}},
    "halves.yaml": {
        "dataset": "d",
        "directory": "r",
        "train": {"steps": 1},
        "objective": "replaced",
        "init_from": "p",
        "replaced": {"generator": f"{FAR}/g"},
    },
    "finetune.yaml": {"init_from": f"{FAR}/p", "directory": "r", "data": {"train": "t.csv", "text": "a", "label": "b"}},
    "adapt.yaml": {"init_from": "bert_tiny_en_uncased", "output": f"{FAR}/o", "read": {"inputs": ["docs"]}},
    "run.yaml": {"output": f"{FAR}/o", "steps": {"words": {"vocab": READ}}},
    "read.yaml": {"output": "o", "steps": {"words": {"vocab": READ}}},
    "sweep.yaml": {
        "output": f"{FAR}/o",
        "steps": {"model": {"train": {"dataset": "d", "train": {"steps": 1}}}},
        "sweep": {"model.seed": [1, 2]},
    },
}


@pytest.mark.parametrize(
    "words",
    [
        ["vocab", "--input", "docs", "--output", f"{FAR}/t"],
        ["vocab", "--input", f"{FAR}/docs/*", "--output", "t"],
        ["prepare", "--input", "docs", "--tokenizer", "bert_tiny_en_uncased", "--output", f"{FAR}/d"],
        ["prepare", "prepare.yaml"],
        ["inspect", f"{FAR}/d"],
        ["verify", f"{FAR}/d"],
        ["export", f"{FAR}/d", "x", "--to", "parquet"],
        ["stream", "verify", f"{FAR}/s"],
        ["compact", f"{FAR}/s", "--output", "d"],
        ["train", "train.yaml"],
        ["train", "halves.yaml"],
        ["watch", f"{FAR}/r"],
        ["compare", f"{FAR}/r", f"{FAR}/s"],
        ["adapt", "adapt.yaml"],
        ["convert", f"{FAR}/p", "p", "--to", "huggingface"],
        ["convert", "bert_tiny_en_uncased", f"{FAR}/p", "--to", "huggingface"],
        ["lineage", f"{FAR}/p", "--dataset", f"{FAR}/d"],
        ["publish", "p", f"{FAR}/p", "--license", "mit"],
        ["fill", f"{FAR}/p", "a [MASK]"],
        ["evaluate", f"{FAR}/p", "--dataset", f"{FAR}/d"],
        ["finetune", "finetune.yaml"],
        ["predict", f"{FAR}/p", "a text"],
        ["run", "run.yaml"],
        ["run", "run.yaml", "--dry-run"],
        ["run", "read.yaml"],
        ["run", "sweep.yaml"],
    ],
    ids=" ".join,
)
def test_each_verb_asks_once_and_says_it(
    words: list[str], asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "0.txt").write_text("a document")
    for name, fields in FILES.items():
        (tmp_path / name).write_text(yaml.safe_dump(fields))
    assert main(words) == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"clozekit {words[0]}: the store of {FAR}/")
    assert "must be within reach, it is not: no network to it (ConnectionError); see to the network" in line
    assert len(asked) == 1


def test_what_a_store_answers_is_for_whoever_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    seen = []

    def info(self: Any, path: str, **_: Any) -> Any:
        seen.append(path)
        raise PermissionError("no")

    monkeypatch.setattr(MemoryFileSystem, "info", info)
    monkeypatch.setattr(reachable, "_REACHED", set())
    check_reachable(["memory://a/b", "memory://a/c", "memory://d", "hf://org/model", "nowhere://x/y", "file:///tmp"])
    assert seen == ["/a/b", "/d/clozekit"]
    # A command and its settings name the same stores.
    check_reachable(["memory://a/e", "memory://d/b"])
    assert len(seen) == 2


def test_urls_in_settings() -> None:
    assert list(urls_in({"a": ["gs://b/c", ("s3://d",)], "e": "x=gs://f", "g": 1})) == ["gs://b/c", "s3://d"]
