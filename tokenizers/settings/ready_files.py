"""Ready configurations by name: where a name is no file, it may be one of those that come with Clozekit."""

from collections.abc import Mapping
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError


def ready_files(folder: Path, prefix: str = "") -> dict[str, Path]:
    """Name -> file of what stands ready in a folder, sorted; prefix: before each name."""
    return {prefix + path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_ready_file(name: str, ready: Mapping[str, Path], what: str) -> str:
    """The path or URL of the file of this name, else of the ready one.

    what: begins the line ("the ready recipes of train"). Raises InputError where neither is there and the name looks like
    one of the ready: a plain word, or one with the prefix that they have.
    """
    # A folder is no recipe; it may have the name of the one that made it.
    if Path(name).exists() and not Path(name).is_dir():
        return name
    if name in ready:
        return str(ready[name])
    prefixes = {known.rpartition("/")[0] for known in ready} - {""}
    is_plain = not set(name) & set("/\\.")
    if is_plain or name.partition("/")[0] in prefixes:
        raise InputError(f"{what} are {', '.join(ready)}, got {name}; or name a file (NAME.yaml)")
    return name
