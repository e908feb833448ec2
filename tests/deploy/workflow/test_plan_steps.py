"""The plan of a workflow: which change redoes which steps, and why it says so."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflows import RECIPE, look_at, run

Change = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe all of whose steps are done, and what they read."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "docs").mkdir()
    for number in range(3):
        (folder / "docs" / f"{number}.txt").write_text(f"document {number}")
    (folder / "more.txt").write_text("one\tmore")
    (folder / "own_loss.py").write_text("def own():\n    pass\n")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    states = run(folder)
    assert [state.phase for state in states] == ["done"] * 6
    return folder


def copied(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")


def edit(**recipe: Any) -> Change:
    def change(folder: Path) -> list[str]:
        fields = yaml.safe_load((folder / "recipe.yaml").read_text())
        for path, value in recipe.items():
            place = fields
            *groups, name = path.split("__")
            for group in groups:
                place = place[group]
            place[name] = value
        (folder / "recipe.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
        return []

    return change


def write(name: str, text: str) -> Change:
    def change(folder: Path) -> list[str]:
        (folder / name).write_text(text)
        return []

    return change


def remove(pattern: str) -> Change:
    def change(folder: Path) -> list[str]:
        (found,) = folder.glob(pattern)
        shutil.rmtree(found) if found.is_dir() else found.unlink()
        return []

    return change


def say(*changes: str) -> Change:
    return lambda folder: list(changes)


ALL = ["words", "data", "model", "score", "labels", "check"]
BEHIND_DATA = ["data", "model", "score", "labels", "check"]
BEHIND_MODEL = ["model", "score", "labels", "check"]


@pytest.mark.parametrize(
    ("change", "redone", "reason"),
    [
        # Nothing, said in other words.
        (say(), [], ""),
        (say("model.log.price_per_hour=2"), [], ""),
        (say("model.checkpoint.keep=7"), [], ""),
        (say("model.optimizer.learning_rate=1.0e-3"), [], ""),
        (edit(limits={"cores": 1}), [], ""),
        (edit(steps__model__needs={"cores": 1}), [], ""),
        (edit(steps__data__options=["--num-workers", "2"]), [], ""),
        (write("recipe2.yaml", "x"), [], ""),
        # Settings.
        (say("words.vocabulary_size=500"), ALL, "vocabulary_size 300 -> 500"),
        (say("data.rows.seed=3"), BEHIND_DATA, "rows.seed (nothing) -> 3"),
        (say("data.rows.seed=0"), BEHIND_DATA, "rows.seed (nothing) -> 0"),
        (say("values.steps=30"), BEHIND_MODEL, "train.steps 20 -> 30"),
        (say("model.optimizer.learning_rate=5e-4"), BEHIND_MODEL, "optimizer.learning_rate 0.001 -> 0.0005"),
        (say("score.max_rows=7"), ["score"], "max_rows 50 -> 7"),
        (say("labels.seed=2"), ["labels", "check"], "seed (nothing) -> 2"),
        (edit(steps__score__evaluate__preset="bert_base_en"), ["score"], 'preset "${model.preset}" -> "bert_base_en"'),
        # What is read, by content and not by name or time.
        (write("docs/0.txt", "another text"), ALL, "what read.inputs names has changed"),
        (write("docs/0.txt", "document 0"), [], ""),
        (write("docs/3.txt", "document 3"), ALL, "what read.inputs names has changed"),
        (remove("docs/2.txt"), ALL, "what read.inputs names has changed"),
        (write("own_loss.py", "def own():\n    return 1\n"), BEHIND_MODEL, "the code of own_loss:own has changed"),
        (write("more.txt", "one\tanother"), ["labels", "check"], "what data.train names has changed"),
        # What a step wrote.
        (remove("out/steps/words-*/tokenizer/content.txt"), ["words"], "content.txt is gone"),
        (remove("out/steps/words-*"), ["words"], "it was not made yet"),
        (remove("out/steps/score-*/evaluation.json"), ["score"], "evaluation.json is gone"),
        (remove("out/steps/model-*/run/preset"), ["model"], "preset is gone"),
        (remove("out/steps/model-*/step.json"), ["model"], "it was begun and has not come to its end"),
        (remove("out/workflow.json"), [], ""),
        (remove("out/hashes.json"), [], ""),
    ],
)
def test_a_change_redoes_what_depends_on_it_and_nothing_else(
    change: Change, redone: list[str], reason: str, finished: Path, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path)
    changes = change(folder)
    planned = look_at(folder, *changes)
    assert [one.name for one in planned if not one.is_done] == redone
    assert reason in next((one.reason for one in planned if not one.is_done), "")
    # What it says is what it does, and it does it once.
    states = run(folder, *changes)
    assert [state.planned.name for state in states if state.phase == "done"] == redone
    assert [state.phase for state in run(folder, *changes)] == ["skipped"] * 6


def test_a_generator_is_an_input_by_its_content_or_by_the_step_that_makes_it(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path)
    (folder / "generator").mkdir()
    (folder / "generator" / "config.json").write_text("{}")
    words = ["model.objective=replaced", "model.init_from=generator", "model.replaced.generator=generator"]

    def model(*changes: str) -> Any:
        (found,) = [one for one in look_at(folder, *words, *changes) if one.name == "model"]
        return found

    before = model()
    assert list(before.facts["inputs"]) == ["init_from", "replaced.generator"]
    shutil.copytree(folder / "generator", folder / "moved")
    assert model("model.replaced.generator=moved").fingerprint == before.fingerprint
    (folder / "moved" / "config.json").write_text("{ }")
    assert model("model.replaced.generator=moved").fingerprint != before.fingerprint
    made = model("model.replaced.generator=${words.output}/generator")
    assert "words" in made.facts["before"] and list(made.facts["inputs"]) == ["init_from"]
    assert made.block["replaced"]["generator"].endswith("/tokenizer/generator")


def test_a_file_that_was_changed_within_is_told_and_written_anew(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path)
    (written,) = folder.glob("out/steps/data-*/dataset/content.txt")
    before = written.read_text()
    written.write_text(before[:-1] + "?")
    assert [one.name for one in look_at(folder) if not one.is_done] == ["data"]
    run(folder)
    assert written.read_text() == before
    # What was there is kept beside it.
    (aside,) = folder.glob("out/steps/data-*.damaged-*/dataset/content.txt")
    assert aside.read_text() == before[:-1] + "?"


def test_going_back_to_old_settings_redoes_nothing(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path)
    run(folder, "data.rows.seed=3")
    assert all(one.is_done for one in look_at(folder))
    assert all(one.is_done for one in look_at(folder, "data.rows.seed=3"))


def test_what_a_folder_of_texts_holds_of_ours_is_no_input(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("- docs\n", "- .\n").replace("docs/*.txt", "./*.txt"))
    run(folder, "output=inside")
    # Journal and orders are those of the stand-in, in the same folder.
    (folder / "journal.txt").unlink()
    (folder / "orders.json").unlink()
    before = [one.facts for one in look_at(folder, "output=inside")]
    (folder / "inside" / "steps" / "new.txt").write_text("of ours")
    assert [one.facts for one in look_at(folder, "output=inside")] == before


def test_two_files_of_one_name_both_count(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path)
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "0.txt").write_text(name)
    prints = []
    for text in ("x", "y"):
        (folder / "a" / "0.txt").write_text(text)
        prints.append(look_at(folder, 'words.read.inputs=["a/0.txt", "b/0.txt"]')[0].fingerprint)
    assert prints[0] != prints[1]


def test_a_dry_run_writes_nothing(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name in ("docs", "more.txt", "own_loss.py", "recipe.yaml"):
        source = finished / name
        shutil.copytree(source, tmp_path / "new" / name) if source.is_dir() else shutil.copy(
            source, tmp_path / "new" / name
        )
    before = sorted(tmp_path.rglob("*"))
    assert [one.reason for one in look_at(tmp_path / "new")] == ["it was not made yet"] * 6
    assert sorted(tmp_path.rglob("*")) == before
