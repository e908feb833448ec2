"""What a disk holds after the power went off: only what was synced, and names only of folders that were synced since.

Follows fsync(2) to the letter: the content of a file is safe when its descriptor was synced after the last write, a name when
its folder was. Beside that worst case stands another one that file systems show: every name is there already, and of what was
not synced only that it exists.
"""

import os
import stat
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Disk:
    """Watches the folder `root`; `states` writes what would be left."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # Number of a file -> its content when it was synced; of a folder -> its names then.
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._kinds: dict[int, bool] = {}

    def synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if stat.S_ISDIR(status.st_mode):
            entries = {entry.name: entry for entry in os.scandir(path)}
            self._names[status.st_ino] = {name: entry.inode() for name, entry in entries.items()}
            self._kinds.update({entry.inode(): entry.is_dir() for entry in entries.values()})
        else:
            self._contents[status.st_ino] = path.read_bytes()

    def write_safe(self, target: Path) -> None:
        """What is safe for certain, below `target`."""
        target.mkdir()
        self._write_folder(self._root.stat().st_ino, target)

    def _write_folder(self, number: int, target: Path) -> None:
        for name, inside in self._names.get(number, {}).items():
            if self._kinds[inside]:
                (target / name).mkdir()
                self._write_folder(inside, target / name)
            else:
                (target / name).write_bytes(self._contents.get(inside, b""))

    def write_names_first(self, target: Path) -> None:
        """Every name that is there now, with the content that is safe."""
        target.mkdir()
        for folder, folders, names in os.walk(self._root):
            place = target / Path(folder).relative_to(self._root)
            for name in folders:
                (place / name).mkdir()
            for name in names:
                number = os.stat(os.path.join(folder, name)).st_ino
                (place / name).write_bytes(self._contents.get(number, b""))


@contextmanager
def watched(root: Path, at_each: Callable[[Disk], None]) -> Any:
    """While entered, `at_each` is called before and after every change of a name and every sync."""
    disk = Disk(root)
    originals = {name: getattr(os, name) for name in ("fsync", "replace", "link", "mkdir")}
    is_looking = False

    def look() -> None:
        nonlocal is_looking
        is_looking = True
        at_each(disk)
        is_looking = False

    def followed(name: str) -> Callable[..., Any]:
        def operation(*arguments: Any, **named: Any) -> Any:
            if is_looking:
                return originals[name](*arguments, **named)
            look()
            result = originals[name](*arguments, **named)
            if name == "fsync":
                disk.synced(arguments[0])
            look()
            return result

        return operation

    # The folder itself was there before.
    disk._names[root.stat().st_ino] = {}
    try:
        for name in originals:
            setattr(os, name, followed(name))
        yield disk
    finally:
        for name, function in originals.items():
            setattr(os, name, function)
