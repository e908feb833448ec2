"""`--json`: one JSON document on standard output and nothing else there, with the keys that `--help` names."""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import LINE

from clozekit.deploy.cli.json_answer import JsonAnswer, json_text
from clozekit.deploy.cli.main import main
from clozekit.deploy.cli.parser import build_parser
from clozekit.deploy.recipes import ready_recipes
from clozekit.deploy.submit import submit_job
from clozekit.deploy.submit.job_state import RUNNING, JobState
from clozekit.deploy.submit.slurm_jobs import BACKEND
from clozekit.model import BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor, BertTokenizer
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError

# Verbs whose answer is a list, a line a text, or no document at all but a file, a job or a run that others watch.
LISTS = {"doctor": ("name", "status", "found", "advice"), "fill": ("text", "masks"), "predict": ("text", "label")}
WITHOUT = {"demo", "submit"}


def help_of(*words: str) -> str:
    """What the help of a command says of --json; empty where it has none."""
    parser = build_parser()
    for word in words:
        (choices,) = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = choices[word]
    return next((str(action.help) for action in parser._actions if "--json" in action.option_strings), "")


def answer(
    words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0, verb: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The document that a command prints, which has the keys that its help names."""
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    named, _, of_each = help_of(*(verb or words[:1])).rpartition("standard output: ")[2].partition(", each with ")
    assert list(document) == named.split(", ")
    for entry in document[named] if of_each else ():
        assert list(entry) == of_each.split(", ")
    return document


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "##s"]
    backbone = BertBackbone(len(pieces), 1, 2, 8, 16, max_sequence_length=16)
    directory = str(tmp_path_factory.mktemp("preset") / "bert")
    BertMaskedLM(backbone, BertMaskedLMPreprocessor(BertTokenizer(pieces), sequence_length=16)).save_to_preset(
        directory
    )
    return directory


def test_every_verb_with_an_answer_has_it() -> None:
    (verbs,) = [a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert {verb for verb in verbs if not help_of(verb)} == WITHOUT
    assert help_of("submit", "status") and not help_of("submit", "slurm")
    for verb, keys in LISTS.items():
        assert all(key in help_of(verb) for key in keys)


def test_inspect(dataset: tuple[str, Manifest], capsys: pytest.CaptureFixture[str]) -> None:
    directory, manifest = dataset
    found = answer(["inspect", directory, "--rows", "2"], capsys)
    assert (found["dataset"], found["dataset_sha256"]) == (directory, manifest.dataset_sha256)
    assert found["counts"] == dict(manifest.counts)
    train = manifest.splits["train"]
    assert found["splits"]["train"] == {
        "shards": len(train.shards),
        "rows": train.rows,
        "pieces": train.pieces,
        "tokens": train.tokens,
        "fill_rate": manifest.fill_rate("train"),
        "num_bytes": sum(shard.num_bytes for shard in train.shards),
    }
    assert [row["row_id"] for row in found["sample"]] == [0, 1]
    assert all(text.startswith("[CLS] ") for row in found["sample"] for text in row["texts"])
    assert answer(["inspect", directory, "--rows", "0"], capsys)["sample"] == []


def test_verify_says_what_is_wrong_and_ends_with_its_status(
    dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = answer(["verify", dataset[0]], capsys)
    assert (whole["whole"], whole["problems"]) == (True, [])
    assert whole["num_rows"] == sum(split.rows for split in dataset[1].splits.values())
    copy = shutil.copytree(dataset[0], tmp_path / "copy")
    shard = dataset[1].splits["train"].shards[0].name
    (copy / shard).unlink()
    damaged = answer(["verify", str(copy)], capsys, status=2)
    assert damaged["whole"] is False
    assert any(shard in problem["source"] for problem in damaged["problems"])


def test_an_error_is_a_line_on_standard_error_and_no_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["inspect", str(tmp_path)], ["verify", str(tmp_path)], ["recipes", "nothing"], ["costs", "--corpus-gb", "0"]):  # fmt: skip
        assert main([*words, "--json"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith(f"clozekit {words[0]}: ")


def test_costs(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(["costs", "--corpus-gb", "100", "--vcpu-price", "0.05"], capsys)
    assert found["settings"]["corpus_gb"] == 100 and found["settings"]["model"] == "bert_base_en_uncased"
    assert found["prepare_price"] == found["vcpu_hours"] * 0.05 and found["train_price"] is None


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(["recipes"], capsys)["recipes"]
    assert [(recipe["verb"], recipe["name"]) for recipe in found] == [(r.verb, r.name) for r in ready_recipes()]
    (mrpc,) = answer(["recipes", "glue/mrpc"], capsys)["recipes"]
    assert mrpc["verb"] == "finetune" and "train" in mrpc["yaml"] and mrpc["head"]


@pytest.mark.slow
def test_vocab_prepare_and_export(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer, out, padded = (str(tmp_path / name) for name in ("tokenizer", "out", "padded"))
    words = ["vocab", "--input", str(corpus), "--output", tokenizer, "--vocabulary-size", "100"]
    learned = answer(words, capsys)
    assert (learned["tokenizer"], learned["num_bad_records"]) == (tokenizer, 0)
    assert learned["report"]["vocabulary_size"] <= 100 and learned["report"]["coverage_rate"] > 0
    words = [
        "prepare",
        "--input",
        str(corpus),
        "--tokenizer",
        tokenizer,
        "--output",
        out,
        "--sequence-length",
        "32",
        "64",
    ]
    built = answer(words, capsys)["datasets"]
    assert [(one["sequence_length"], one["built"]) for one in built] == [(32, True), (64, True)]
    assert all(Path(one["report"]).is_file() for one in built)
    again = answer(words, capsys)["datasets"]
    assert again == [{**one, "built": False} for one in built]
    exported = answer(["export", f"{out}/32", padded, "--to", "padded"], capsys)
    assert exported["rows"] == {name: split["rows"] for name, split in built[0]["splits"].items()}
    assert exported["read_with"].startswith("tf.io.parse_example")


def test_evaluate_and_convert(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts").write_text("the cat sat\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["evaluate", preset, "--texts", str(tmp_path / "texts"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_tokens"] == 3
    converted = answer(["convert", preset, str(tmp_path / "out"), "--to", "clozekit"], capsys)
    assert converted["what"].startswith("BertMaskedLM of ") and converted["notes"] == []
    assert converted["load_with"] == f'clozekit.model.BertMaskedLM.from_preset("{tmp_path / "out"}")'


@pytest.mark.slow
def test_train(dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        f"dataset: {dataset[0]}\ndirectory: {tmp_path}/run\n"
        "model: {num_layers: 1, num_heads: 1, hidden_dim: 8, intermediate_dim: 8}\n"
        "train: {steps: 2, global_batch_size: 4, steps_per_loop: 2, xla: false}\nevaluate: {max_rows: 8}\n"
    )
    capsys.readouterr()
    assert main(["train", str(config), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert ", ".join(found) == help_of("train").rpartition("standard output: ")[2]
    # The course of the run is for people.
    assert "step 2: validation loss" in captured.err
    assert found["preset"] == f"{tmp_path}/run/preset" and Path(found["report"]).is_file()
    assert found["metrics"]["loss"] > 0


def test_submit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    state = JobState("a", "17", RUNNING, "RUNNING", "0123", "squeue --jobs=17")
    monkeypatch.setattr(submit_job, "load_backend", lambda _: dataclasses.replace(BACKEND, find=lambda _: state))
    (tmp_path / "job.yaml").write_text("name: a\n", encoding="utf-8")
    words = ["submit", "status", "slurm", str(tmp_path / "job.yaml")]
    assert answer(words, capsys, verb=("submit", "status")) == dataclasses.asdict(state)


@pytest.mark.parametrize("order", [LINE.train_order, LINE.prepare_order])
def test_what_is_submitted_has_none(order: Callable[[list[str]], Any]) -> None:
    verb = "train" if order == LINE.train_order else "prepare"
    with pytest.raises(InputError, match=f"--json is for what runs here, {verb} is submitted with it; leave it out"):
        order([verb, "recipe.yaml", "--json"])


def test_what_no_json_can_say_is_null() -> None:
    assert json.loads(json_text({"a": [1.5, float("nan")], "b": (float("inf"), "é")})) == {
        "a": [1.5, None],
        "b": [None, "é"],
    }


def test_an_answer_has_its_keys() -> None:
    with pytest.raises(AssertionError, match="an answer has the keys"):
        JsonAnswer(("a", "b")).show(a=1)
