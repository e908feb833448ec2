"""Arrow as commands need it: without pandas, which it loads, 0.3 CPU-seconds, to know whether an array is one of its."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

from clozekit.tokenizers.common.import_hooks import around_import


def load_arrow_lightly() -> None:
    """Sees to it that Arrow, when it is first imported, believes that there is no pandas. It is not loaded now.

    Where pandas is imported later, by a user's own code, Arrow knows its series and tables from then on.
    """
    around_import("pyarrow", _lightly)


class _WithoutPandas(MetaPathFinder):
    """Refuses one import. `hidden_packages` does not: code made by Cython takes its None for the module."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not needed", name=fullname)


def _lightly(load: Callable[[], None]) -> None:
    load()
    if sys.modules.get("pandas") is not None:
        return
    # Whoever loads Arrow may hide pandas in the other way.
    hidden = {name: sys.modules.pop(name) for name in ("pandas",) if name in sys.modules}
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        # It asks once, for the first array.
        sys.modules["pyarrow"].array([])
    finally:
        sys.meta_path.remove(finder)
        around_import("pandas", _known_to_arrow)
        sys.modules.update(hidden)


def _known_to_arrow(load: Callable[[], None]) -> None:
    load()
    # What gives a series asks again.
    sys.modules["pyarrow"].nulls(0).to_pandas()
