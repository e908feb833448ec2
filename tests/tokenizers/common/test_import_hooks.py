"""What is done around the import of a module: once, whoever imports it, and the module is as ever."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clozekit.tokenizers.common.import_hooks import around_import


def test_a_hook_is_called_once_around_the_first_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waited_for.py").write_text("order.append('runs')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "waited_for", raising=False)
    order: list[str] = []
    monkeypatch.setattr("builtins.order", order, raising=False)

    def load(execute: Callable[[], None]) -> None:
        order.append("before")
        execute()
        order.append("after")

    around_import("waited_for", load)
    around_import("waited_for", load)
    assert order == []
    module = importlib.import_module("waited_for")
    assert order == ["before", "runs", "after"]
    assert type(module.__spec__.loader).__name__ == type(module.__loader__).__name__ == "SourceFileLoader"
    # It was imported: nothing is waited for any more.
    before = list(sys.meta_path)
    around_import("waited_for", load)
    assert sys.meta_path == before
    monkeypatch.delitem(sys.modules, "waited_for")


def test_a_module_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    around_import("no_such_module_at_all", lambda execute: execute())
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")
