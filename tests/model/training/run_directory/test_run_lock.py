"""Two runs in one directory, or with one preset: the second gets one line; what can't be written is named."""

import os
from pathlib import Path
from typing import Any

import pytest

from clozekit.model.training.controller import Run
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.run_directory.run_lock import lock_run
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.directory_locks import locked


def refusal(place: object) -> str:
    return (
        f"one run at a time writes into a directory, another one is at work in {place}; wait for it, or choose another"
        " `directory` and `preset`"
    )


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        (("a", "a/preset"), ("a", "a/preset"), "a"),
        (("a", "p"), ("b", "p"), "p"),
        (("a", "a/preset"), ("b", "a/preset"), "a/preset"),
        (("a", "a/preset"), ("a/", "q"), "a"),
        (("a", "a/preset"), ("b/../a", "q"), "b/../a"),
        (("a", "a/preset"), ("b", "b/preset"), None),
        (("a", "p"), ("b", "q"), None),
    ],
)
def test_a_directory_or_preset_of_two_runs_is_refused(
    first: tuple[str, str], second: tuple[str, str], place: str | None, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    paths = [[f"{tmp_path}/{name}".rstrip("/") for name in both] for both in (first, second)]
    with lock_run(*paths[0]):
        if place is None:
            with lock_run(*paths[1]) as lock:
                lock.check()
        else:
            with pytest.raises(InputError) as caught, lock_run(*paths[1]):
                pass
            assert str(caught.value) == refusal(tmp_path / place if ".." not in place else f"{tmp_path}/{place}")
    # Nothing of it stays.
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_runs_in_a_store_are_told_apart_too() -> None:
    with (
        lock_run("memory://bucket/run", "memory://bucket/run/preset"),
        pytest.raises(InputError, match="one run at a time"),
        lock_run("memory://bucket/run", "memory://bucket/other"),
    ):
        pass
    with lock_run("memory://bucket/run", "memory://bucket/run/preset"), lock_run("ram://x/run", "ram://x/run/preset"):
        pass


@pytest.mark.parametrize("directory", ["/dev/null", "/dev/null/run", "/proc/run", "{}/file", "{}/file/run"])
def test_a_directory_that_cannot_be_written_is_named(directory: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    directory = directory.format(tmp_path)
    with pytest.raises(InputError) as caught, lock_run(directory, f"{directory}/preset"):
        pass
    assert str(caught.value).startswith("a run writes into its directory and its preset's, " + directory)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_train_and_finetune_are_refused_while_another_one_is_at_work(
    monkeypatch: pytest.MonkeyPatch, start_preset: str, labelled: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    changes = [f"directory={directory}", f"init_from={start_preset}", f"data.train={labelled}/train.tsv"]
    run = FinetuneRun(load_finetune_config(None, [*changes, "data.text=sentence", "data.label=label"]))
    with locked(str(directory / "_lock")):
        with pytest.raises(InputError) as caught:
            run.train()
        assert str(caught.value) == refusal(directory)
        assert os.listdir(directory) == ["_lock"]


class Sums:
    """Workers of which one was refused: the sum over them is what each gets."""

    def __init__(self, is_chief: bool) -> None:
        self.is_chief, self.have_parted = is_chief, False

    def any(self, flag: bool) -> bool:
        return flag or not self.is_chief

    def part(self) -> None:
        self.have_parted = True


@pytest.mark.parametrize(("is_chief", "message"), [(True, "another one is at work"), (False, "the chief says why")])
def test_all_workers_end_when_the_chief_is_refused(is_chief: bool, message: str, tmp_path: Path) -> None:
    run: Any = Run.__new__(Run)
    run.workers, run.directory, run._lock = Sums(is_chief), str(tmp_path), None
    run.preset_directory = f"{tmp_path}/preset"
    with locked(str(tmp_path / "_lock")), pytest.raises(InputError, match=message):
        run.train()
    # Who leaves first is not taken for lost by the others.
    assert run.workers.have_parted
