"""Arrow as our own processes need it: it takes nothing from pandas, and so doesn't load it."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

from clozekit.tokenizers.common.import_hooks import around_import


def load_arrow_lightly() -> None:
    """Sees to it that Arrow, when it is first imported, takes pandas for not installed. It is not loaded now.

    With the first array that it makes it would load pandas, 0.2 CPU-seconds, to tell its tables from lists. Only for a process
    that is all ours: Arrow's tables don't become pandas' in it.
    """
    around_import("pyarrow", _lightly)


def _lightly(load: Callable[[], None]) -> None:
    load()
    import pyarrow as pa

    # It looks once, and remembers. (None in sys.modules, as of hidden packages, it would take for the module: it is Cython.)
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not loaded for Arrow", name=fullname)
