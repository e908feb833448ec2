"""Files that change while a run reads them: one line that names the file, and nothing is committed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clozekit.model.training.finetuning.examples import labelled_texts
from clozekit.pipelines import count_words
from clozekit.pipelines.dataset.manifest import has_manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.rows import commit
from clozekit.pipelines.settings.corpus_settings import CorpusSettings, DecontaminateSettings, FilterSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.vocabulary import VocabularySettings, make_vocabulary
from clozekit.tokenizers.common.errors import InputError

OPTIONS = PrepareSettings(sequence_length=32, num_shards=1)


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, work: Callable[[], object]) -> None:
    """Does `work` each time just before `module.name` runs."""
    real = getattr(module, name)

    def first(*arguments: Any, **options: Any) -> Any:
        work()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, first)


def append(path: Path) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n")


@pytest.fixture
def build(corpus: Path, tokenizer_directory: str, tmp_path: Path) -> tuple[dict[str, Path], Callable[[], Any]]:
    """Name -> what a build reads, and the build."""
    folder = tmp_path / "in"
    folder.mkdir()
    files = {name: folder / name for name in ("documents.jsonl", "evaluation.txt", "bad.txt", "tokenizer")}
    shutil.copy(corpus, files["documents.jsonl"])
    files["evaluation.txt"].write_text("one two three four five six seven eight nine ten\n", encoding="utf-8")
    files["bad.txt"].write_text("nonsense\n", encoding="utf-8")
    shutil.copytree(tokenizer_directory, files["tokenizer"])
    corpus_options = CorpusSettings(
        filter=FilterSettings(bad_words=str(files["bad.txt"])),
        decontaminate=DecontaminateSettings(inputs=(str(files["evaluation.txt"]),)),
    )

    def run() -> Any:
        reading = ReadSettings((str(files["documents.jsonl"]),))
        return prepare(reading, OPTIONS, str(files["tokenizer"]), str(tmp_path / "out"), corpus=corpus_options)

    return files, run


@pytest.mark.parametrize("name", ["documents.jsonl", "evaluation.txt", "bad.txt"])
def test_a_build_whose_input_changes_commits_nothing_and_the_next_builds_anew(
    name: str, build: tuple[dict[str, Path], Callable[[], Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, run = build
    with monkeypatch.context() as patch:
        before(patch, commit, "check_side_files", lambda: append(files[name]))
        with pytest.raises(InputError, match=rf"must stay as it is while it is read, .*{name} had \d+ bytes") as caught:
            run()
    assert "\n" not in str(caught.value)
    assert not has_manifest(str(tmp_path / "out"))
    if name == "documents.jsonl":
        manifest, built = run()
        assert built and manifest.inputs[0]["num_bytes"] == files[name].stat().st_size


def test_a_tokenizer_that_changes_commits_nothing(
    build: tuple[dict[str, Path], Callable[[], Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, run = build
    vocabulary = next(files["tokenizer"].rglob("vocabulary.txt"))
    text = vocabulary.read_text(encoding="utf-8").replace("\nbird\n", "\nwolf\n")
    with monkeypatch.context() as patch:
        before(patch, commit, "check_side_files", lambda: vocabulary.write_text(text, encoding="utf-8"))
        with pytest.raises(
            InputError, match=r"a tokenizer must stay as it is .*tokenizer has changed since the run began"
        ):
            run()
    assert not has_manifest(str(tmp_path / "out"))


def test_a_vocabulary_of_an_input_that_changes_is_not_saved(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    shutil.copy(corpus, path)
    before(monkeypatch, count_words, "check_unchanged", lambda: append(path))
    with pytest.raises(InputError, match=r"a.jsonl had \d+ bytes and has \d+ since the run began"):
        make_vocabulary(ReadSettings((str(path),)), str(tmp_path / "out"), VocabularySettings(vocabulary_size=200))
    assert not (tmp_path / "out/tokenizer.json").exists()


def test_labelled_texts_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\ty\none\t1\n", encoding="utf-8")
    before(monkeypatch, labelled_texts, "check_unchanged", lambda: append(path))
    with pytest.raises(InputError, match=r"a.tsv had 13 bytes and has 14"):
        labelled_texts.read_labelled_texts(str(path), labelled_texts.Columns("text", None, "y"))


def test_what_a_folder_holds_beside_text_is_in_the_manifest_and_on_the_screen(
    corpus: Path, tokenizer_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output lies inside the input, and is no input of the second build."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(corpus, folder)
    reading = ReadSettings((str(folder),))
    alone, _ = prepare(reading, OPTIONS, tokenizer_directory, str(folder / "out"), show_progress=True)
    assert "files_skipped" not in alone.counts and "not read" not in capsys.readouterr().err
    (folder / "a.png").write_bytes(b"x")
    again, built = prepare(
        ReadSettings((str(folder),)), OPTIONS, tokenizer_directory, str(tmp_path / "out"), show_progress=True
    )
    assert built and again.dataset_sha256 == alone.dataset_sha256
    number = again.counts["files_skipped"]
    expected = f"not read, {number} in all: {folder}/a.png (none of the suffixes), {number - 1} that Clozekit wrote"
    assert number > 5 and expected in capsys.readouterr().err
    assert json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))["counts"]["documents_in"] == 300
