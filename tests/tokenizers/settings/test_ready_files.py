"""Ready files by name: one's own file comes first, a plain word or a known prefix that is neither is refused."""

from pathlib import Path

import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.ready_files import find_ready_file, ready_files


@pytest.fixture()
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    folder = tmp_path / "ready"
    folder.mkdir()
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (folder / name).write_text("{}", encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return {**ready_files(folder), **ready_files(folder, "glue/")}


def test_names_are_those_of_the_files(ready: dict[str, Path], tmp_path: Path) -> None:
    a, b = tmp_path / "ready" / "a.yaml", tmp_path / "ready" / "b.yaml"
    assert list(ready.items()) == [("a", a), ("b", b), ("glue/a", a), ("glue/b", b)]


@pytest.mark.parametrize("name", ["my.yaml", "folder/my", "gs://bucket/my.yaml", "../x", "c:\\my"])
def test_what_looks_like_a_file_is_left_as_it_is(name: str, ready: dict[str, Path]) -> None:
    assert find_ready_file(name, ready, "they") == name


@pytest.mark.parametrize("name", ["c", "glue/c", "glue/c.yaml"])
def test_what_looks_like_a_ready_one_and_is_none_is_refused(name: str, ready: dict[str, Path]) -> None:
    with pytest.raises(InputError) as caught:
        find_ready_file(name, ready, "the ready recipes of train")
    assert str(caught.value) == (
        f"the ready recipes of train are a, b, glue/a, glue/b, got {name}; or name a file (NAME.yaml)"
    )


@pytest.mark.parametrize("name", ["a", "glue/a"])
def test_ones_own_file_comes_first(name: str, ready: dict[str, Path]) -> None:
    assert find_ready_file(name, ready, "they") == str(ready[name])
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("{}", encoding="utf-8")
    assert find_ready_file(name, ready, "they") == name
