"""Packages that a library loads only because it finds them, hidden from it while it loads."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def hidden_packages(names: Sequence[str]) -> Iterator[None]:
    """Inside the block importing one of `names` raises ModuleNotFoundError, as if it were not installed.

    Afterwards they are imported as ever. One that was imported before stays as it is.
    """
    hiding = [name for name in names if name not in sys.modules]
    # Python's own way to say that a module can't be imported.
    sys.modules.update(dict.fromkeys(hiding))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hiding:
            if name in sys.modules and sys.modules[name] is None:
                del sys.modules[name]
