"""Something done around the import of a library, whoever imports it first."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any


def around_import(name: str, load: Callable[[Callable[[], None]], None]) -> None:
    """Calls `load` when the module `name` is imported for the first time, with the function that runs the module.

    Does nothing for one that was imported before, and for one that is waited for already.
    """
    waiting = any(isinstance(finder, _Finder) and finder.name == name for finder in sys.meta_path)
    if name not in sys.modules and not waiting:
        sys.meta_path.insert(0, _Finder(name, load))


class _Finder(MetaPathFinder):
    """Finds one module as the others do, once."""

    def __init__(self, name: str, load: Callable[[Callable[[], None]], None]) -> None:
        self.name = name
        self._load = load

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._load)
        return spec


class _Loader(Loader):
    def __init__(self, loader: Loader, load: Callable[[Callable[[], None]], None]) -> None:
        self._loader = loader
        self._load = load

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        # What asks the module for its files finds the loader that has them.
        module.__loader__ = module.__spec__.loader = self._loader
        self._load(lambda: self._loader.exec_module(module))
