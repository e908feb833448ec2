"""The hash of a corpus beside the dataset that a workflow made of it: when it is noted, and for whom it counts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from clozekit.deploy.workflow.made_corpus import note_corpus
from clozekit.deploy.workflow.plan_steps import PlannedStep
from clozekit.deploy.workflow.workflow_file import Step
from clozekit.pipelines.dataset.corpus_content import CONTENT_FILE, read_corpus_content

A, B = "a" * 64, "b" * 64
OF_BOTH = hashlib.sha256(f"{A}\n{B}".encode()).hexdigest()
TWO = {"read": {"inputs": ["docs"]}, "sources": [{"name": "x", "inputs": ["x"]}]}


def planned(
    folder: Path, block: dict[str, Any], inputs: dict[str, list[str]], place: Path | None = None
) -> PlannedStep:
    step = Step("data", "prepare", block)
    facts = {"inputs": inputs}
    where = str(place or folder / "dataset")
    return PlannedStep(step, "f", facts, str(folder), where, block, (), is_done=False, reason="")


def write_dataset(folder: Path, sha256: str) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"dataset_sha256": sha256}))


@pytest.mark.parametrize(
    ("case", "inputs", "found"),
    [
        ("files of a folder, with their names", {"read.inputs": [f"0.txt {A}"], "sources.0.inputs": [B]}, OF_BOTH),
        ("the order is that of the hashes", {"read.inputs": [B], "sources.0.inputs": [f"a b.txt {A}"]}, OF_BOTH),
        ("a store's mark is no hash", {"read.inputs": ["12 CRC=="], "sources.0.inputs": [B]}, None),
        ("one is made by another step", {"read.inputs": [A]}, None),
    ],
)
def test_it_is_noted_where_all_is_known(
    case: str, inputs: dict[str, list[str]], found: str | None, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "dataset", "d")
    note_corpus(planned(tmp_path, TWO, inputs))
    assert read_corpus_content(str(tmp_path / "dataset"), "d") == found, case
    # A dataset that was put there later is another one.
    assert read_corpus_content(str(tmp_path / "dataset"), "e") is None


def test_datasets_of_several_lengths_have_it_too(tmp_path: Path) -> None:
    for length in ("64", "128"):
        write_dataset(tmp_path / "dataset" / length, f"d{length}")
    note_corpus(planned(tmp_path, {"read": {"inputs": ["docs"]}}, {"read.inputs": [A, B]}))
    assert read_corpus_content(str(tmp_path / "dataset" / "64"), "d64") == OF_BOTH
    assert read_corpus_content(f"{tmp_path}/dataset/128/", "d128") == OF_BOTH


def test_a_dataset_elsewhere_and_one_that_is_not_there_have_none(tmp_path: Path) -> None:
    inputs = {"read.inputs": [A]}
    write_dataset(tmp_path / "mine", "d")
    note_corpus(planned(tmp_path / "step", {"read": {"inputs": ["docs"]}}, inputs, tmp_path / "mine"))
    assert not list(tmp_path.rglob(CONTENT_FILE))
    (tmp_path / "dataset").mkdir()
    note_corpus(planned(tmp_path, {"read": {"inputs": ["docs"]}}, inputs))
    assert not list(tmp_path.rglob(CONTENT_FILE))


def test_a_file_of_that_name_of_somebody_else_says_nothing(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset", "d")
    for text in ("", "[]", '{"datasets": 1}', '{"datasets": ["d"]}', '{"datasets": ["d"], "sha256": 1}'):
        (tmp_path / CONTENT_FILE).write_text(text)
        assert read_corpus_content(str(tmp_path / "dataset"), "d") is None
