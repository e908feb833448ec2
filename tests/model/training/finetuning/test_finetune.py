"""Fine-tuning: it learns, keeps the best weights, stops early, goes on after a kill, and refuses what does not fit."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as small
from finetune_runs import curve, run_of
from helper_folder import HELPERS
from long_variants import DISTINCT, FULL
from processes import started, wait_for_step

from clozekit.model import TextClassifier
from clozekit.model.tasks.classify_texts import classify_texts
from clozekit.model.training.finetuning.finetune import FinetuneResult, FinetuneRun
from clozekit.model.training.reports.watch_screen import screen
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.run_directory.run_state import read_run
from clozekit.tokenizers.common.errors import InputError

CHANGES = ("data.test=test.tsv", "checkpoint.every_steps=15")


@pytest.fixture(scope="module")
def finished(
    start_preset: str, labelled: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FinetuneRun, FinetuneResult]:
    run = run_of(start_preset, labelled, tmp_path_factory.mktemp("finished"), *CHANGES)
    return run, run.train()


@pytest.mark.slow
def test_it_learns_and_the_preset_knows_the_labels(finished: tuple[FinetuneRun, FinetuneResult]) -> None:
    run, result = finished
    assert result["metrics"]["dev"]["accuracy"] == 1.0
    task = TextClassifier.from_preset(str(run.preset_directory))
    assert task.labels == ["happy", "sad"]
    assert task.preprocessor is not None and task.preprocessor.sequence_length == 48
    cat, dog = classify_texts(task, ["the red cat sat on the mat .", "the red dog ran under the tree ."])
    assert (cat.label, dog.label) == ("happy", "sad")
    assert cat.probability == cat.probabilities["happy"] > 0.5
    assert sum(cat.probabilities.values()) == pytest.approx(1.0)


def test_the_files_of_a_run(finished: tuple[FinetuneRun, FinetuneResult], labelled: Path) -> None:
    run, result = finished
    assert json.loads((Path(run.directory) / "result.json").read_text(encoding="utf-8")) == result
    entries = read_metrics(Path(run.directory) / METRICS_FILE)
    assert [entry["step"] for entry in entries if entry["kind"] == "validation"] == [10, 20, 30, 40, 50]
    best = next(entry for entry in entries if entry["kind"] == "validation" and entry["step"] == result["best_step"])
    assert {name: best[name] for name in result["metrics"]["dev"]} == result["metrics"]["dev"]
    lines = (Path(run.directory) / "predictions" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    rows = [row.split("\t") for row in (labelled / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert lines[0] == "index\tprediction\tlabel"
    assert lines[1:] == [f"{number}\t{label}\t{label}" for number, (_, label) in enumerate(rows)]
    tested = (Path(run.directory) / "predictions" / "test.tsv").read_text(encoding="utf-8")
    assert tested == "index\tprediction\n" + "".join(f"{n}\t{label}\n" for n, (_, label) in enumerate(rows[:4]))


KILLED = """
import sys, threading
from pathlib import Path
sys.path.append(sys.argv[1])
from finetune_runs import run_of
from clozekit.model.training.training_loop import TrainingLoop
run = run_of(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[6:])
advance = TrainingLoop._advance

def advance_until_told(loop):
    trouble = advance(loop)
    if loop._position.global_step >= int(sys.argv[5]):
        threading.Event().wait()
    return trouble

TrainingLoop._advance = advance_until_told
run.train()
"""


@pytest.mark.parametrize("at_step", [15, 40] if FULL else [40])
def test_killed_with_9_and_run_again_it_is_as_if_never_stopped(
    at_step: int,
    finished: tuple[FinetuneRun, FinetuneResult],
    start_preset: str,
    labelled: Path,
    tmp_path: Path,
) -> None:
    directory = tmp_path / "run"
    arguments = (str(HELPERS), start_preset, str(labelled), str(directory), str(at_step), *CHANGES)
    with started("-c", KILLED, *arguments) as child:
        wait_for_step(directory, at_step, child)
        child.kill()
    # `watch` knows how far it was, though its configuration says epochs.
    killed = read_run(str(directory))
    assert (killed.state, killed.last_step) == ("killed", 50)
    said = "\n".join(screen(killed))
    assert re.search(r"ended at step \d+ by an error or a kill, .* run the same command again", said)
    assert f"{killed.step / 50:.1%}  step {killed.step} of 50, " in said
    whole, expected = finished
    assert run_of(start_preset, labelled, directory, *CHANGES).train() == expected
    assert curve(directory) == curve(Path(whole.directory))
    a, b = (TextClassifier.from_preset(f"{path}/preset").get_weights() for path in (directory, whole.directory))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    ours, theirs = (Path(path) / "preset" / "lineage.json" for path in (directory, whole.directory))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_it_stops_early_and_keeps_the_best_weights(start_preset: str, labelled: Path, tmp_path: Path) -> None:
    """On labels that are the other way round, every step makes it worse."""
    run = run_of(start_preset, labelled, tmp_path, "data.validation=flipped.tsv", "patience=2", "train.epochs=20")
    result = run.train()
    history = run.history()
    assert len(history) == run.best(history) + 1 + 2 < 20
    assert result["best_step"] == history[run.best(history)]["step"]
    assert history[-1]["accuracy"] < result["metrics"]["flipped"]["accuracy"]
    # The preset is the best, and a finished run only says so again.
    loaded = TextClassifier.from_preset(str(run.preset_directory))
    assert all((x == y).all() for x, y in zip(loaded.get_weights(), run.task.get_weights(), strict=True))
    again = run_of(start_preset, labelled, tmp_path, "data.validation=flipped.tsv", "patience=2", "train.epochs=20")
    assert again.train() == result
    assert len(again.history()) == len(history)


@pytest.mark.slow
def test_equal_metrics_are_told_apart_by_the_loss(start_preset: str, labelled: Path, tmp_path: Path) -> None:
    run = run_of(start_preset, labelled, tmp_path, "patience=2", "train.epochs=10", "optimizer.learning_rate=1e-30")
    run.train()
    # Nothing moves: the first of equal evaluations is best.
    assert [entry["step"] for entry in run.history()] == [10, 20, 30]
    assert len({entry["loss"] for entry in run.history()}) == 1


def test_a_metric_that_is_no_number_is_worst_and_one_that_is_not_there_is_named(
    start_preset: str, labelled: Path, tmp_path: Path
) -> None:
    run = run_of(start_preset, labelled, tmp_path)
    rows = [{"accuracy": None, "loss": None}, {"accuracy": 0.5, "loss": None}, {"accuracy": 0.5, "loss": 3.0}]
    lines = [json.dumps({"kind": "validation", "step": step, **row}) + "\n" for step, row in enumerate(rows)]
    log = tmp_path / METRICS_FILE
    log.write_text("".join(lines))
    assert run.best(run.history()) == 2
    log.write_text("".join(lines[:2]))
    assert run.best(run.history()) == 1
    log.write_text("".join(lines).replace("accuracy", "spearmanr"))
    with pytest.raises(InputError, match="must have accuracy, which decides, that of step 0 has none"):
        run.best(run.history())


# ELECTRA's classifier alone has a dense layer of its own beside a pooler.
@pytest.mark.parametrize("family", [*DISTINCT, *({"electra"} - {*DISTINCT})])
def test_every_family_takes_pairs(family: str, labelled: Path, tmp_path: Path) -> None:
    """And the classifier that is saved answers as the trained one."""
    start, directory = str(tmp_path / "start"), tmp_path / "run"
    sizes: dict[str, Any] = {"num_layers": 1, "max_sequence_length": 48, "dropout": 0.1}
    sizes |= {"num_inner_repetitions": 1} if family == "albert" else {}
    small.masked_lm(family, small.masked_lm_preprocessor(family), sizes).save_to_preset(start)
    changes = ["data.train=pairs.csv", "data.validation=[]", "data.text=first", "data.text_pair=second"]
    run = run_of(start, labelled, directory, *changes, "data.label=same", "train.epochs=0.5", "patience=1")
    result = run.train()
    assert result["best_step"] == 4  # half an epoch of 99 examples, 16 a step; the other 11 are to validate on
    part = run.data.validation[0].examples
    assert len(part) == 11
    task = TextClassifier.from_preset(str(run.preset_directory))
    found = classify_texts(task, part.texts, part.pairs)
    rows = (Path(run.directory) / "predictions" / "validation.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [prediction.label for prediction in found] == [row.split("\t")[1] for row in rows]
    (logits,) = run.outputs(run._encoded_validation[0])
    shares = [[prediction.probabilities[label] for label in run.data.labels] for prediction in found]
    np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True), atol=1e-5)


@pytest.mark.slow
def test_numbers_are_predicted_by_regression(start_preset: str, labelled: Path, tmp_path: Path) -> None:
    changes = ["task=regression", "data.train=numbers.jsonl", "data.validation=[]", "data.text=text", "data.label=size"]
    run = run_of(start_preset, labelled, tmp_path, *changes, "train.epochs=8", "sequence_length=32")
    result = run.train()
    assert result["metric"] == "pearson"
    assert result["metrics"]["validation"]["pearson"] > 0.8
    task = TextClassifier.from_preset(str(run.preset_directory))
    assert (task.num_classes, task.labels) == (1, None)
    bird, dog = classify_texts(task, ["the blue bird flew over the house .", "the old dog ran under the mat ."])
    assert bird.label is None and bird.value is not None and dog.value is not None
    assert bird.value < 0.3 < 0.7 < dog.value


def test_a_run_goes_on_only_with_its_own_settings_and_files(
    finished: tuple[FinetuneRun, FinetuneResult], start_preset: str, labelled: Path
) -> None:
    directory = Path(finished[0].directory)
    with pytest.raises(InputError, match=r"goes on only with the settings .* \(seed was 0, is 1\)"):
        run_of(start_preset, labelled, directory, "data.test=test.tsv", "seed=1").train()
    with pytest.raises(InputError, match="dataset_sha256 was"):
        run_of(start_preset, labelled, directory, "data.validation=flipped.tsv").train()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.text=text"], r"train.tsv must have the column 'text', it has 'sentence', 'label'"),
        (["data.text_pair=second"], r"train.tsv must have the column 'second'"),
        (["data.train=none.tsv"], r"none.tsv is not"),
        (
            ["data.validation=odd.tsv"],
            r"odd.tsv, line 2: a label must be one of 'happy', 'sad' as in .*train.tsv, got 'odd'",
        ),
        (
            ["data.labels=[happy,angry]"],
            r"train.tsv, line \d+: a label must be one of 'happy', 'angry' as in data.labels",
        ),
        (["data.validation=[dev.tsv,dev.tsv]"], "must have different names, got dev, dev"),
        (["data.validation=[]", "data.validation_rate=0.001"], "of 160 examples leaves one side empty"),
        (["task=regression"], "line 2: the label of a regression must be a number, got"),
        (["sequence_length=64"], "rows must fit the backbone's 48 positions"),
        (["init_from=/no/such/preset"], "/no/such/preset"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    changes: list[str], message: str, start_preset: str, labelled: Path, tmp_path: Path
) -> None:
    (labelled / "odd.tsv").write_text("sentence\tlabel\nthe cat\todd\n", encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        run_of(start_preset, labelled, tmp_path / "run", *changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_steps_that_are_no_numbers_stop_the_run(start_preset: str, labelled: Path, tmp_path: Path) -> None:
    run = run_of(start_preset, labelled, tmp_path)
    run.task.output_dense.kernel.assign(np.full(run.task.output_dense.kernel.shape, np.nan))
    with pytest.raises(InputError, match="the validation loss must be a number, it is nan .* no checkpoint"):
        run.train()
