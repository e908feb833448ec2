"""A workflow whose folder is a bucket: another machine goes on with it, and what is whole there is not done again."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from google_front import Storage, files
from grammar import sentences
from workflows import look_at, words_of

from clozekit.deploy.workflow.run_steps import StepState
from clozekit.deploy.workflow.run_workflow import run_one_step, run_workflow
from clozekit.deploy.workflow.workflow_file import load_workflow

pytestmark = pytest.mark.slow

RECIPE = """\
output: gs://ours/workflow
steps:
  words: {vocab: {read: {inputs: ["gs://ours/docs/*.jsonl"]}, vocabulary_size: 100}}
"""


def write_corpus(seed: int) -> None:
    lines = (json.dumps({"text": text}) for text in sentences(seed, 60))
    files().pipe("gs://ours/docs/0.jsonl", "\n".join(lines).encode())


def test_a_workflow_in_a_bucket_is_done_once_and_again_when_its_corpus_changes(
    storage: Storage, tmp_path: Path
) -> None:
    write_corpus(0)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    workflow = load_workflow(str(tmp_path / "recipe.yaml"))
    assert [state.phase for state in run_workflow(workflow, None, words_of, lambda states: None)] == ["done"]
    names = {name.removeprefix("ours/workflow/").partition("/")[0] for name in files().find("ours/workflow")}
    assert names == {".clozekit-files.json", "report.html", "steps", "workflow.json"}
    (step,) = files().glob("gs://ours/workflow/steps/words-*")
    assert b"tokenizer" in files().cat_file(f"{step}/log.txt")
    # Nothing of it is on this machine.
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert [one.is_done for one in look_at(tmp_path)] == [True]
    assert [state.phase for state in run_workflow(workflow, None, words_of, lambda states: None)] == ["skipped"]
    piece = next(name for name in files().find(f"{step}/tokenizer") if "vocab" in name)
    files().pipe(piece, b"other pieces")
    assert "is not what was written" in look_at(tmp_path)[0].reason
    write_corpus(1)
    (planned,) = look_at(tmp_path)
    assert planned.reason == "what read.inputs names has changed"


def test_one_step_holds_a_lease_in_a_bucket_while_it_runs(storage: Storage, tmp_path: Path) -> None:
    write_corpus(0)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    workflow = load_workflow(str(tmp_path / "recipe.yaml"))
    leases = set()

    def tell(states: Sequence[StepState]) -> None:
        if states[0].phase == "running":
            leases.update(files().glob("gs://ours/workflow/**/_lock.json"))

    (state,) = run_one_step(workflow, "words", words_of, tell)
    assert state.phase == "done"
    assert [name.partition("/steps/words-")[0] for name in leases] == ["ours/workflow"]
    assert files().glob("gs://ours/workflow/**/_lock.json") == []
    (state,) = run_one_step(workflow, "words", words_of, tell)
    assert state.phase == "skipped"
