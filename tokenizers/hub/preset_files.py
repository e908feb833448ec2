"""The files of one preset by their names: what every source of presets offers, and a directory as the simplest one."""

from pathlib import Path, PurePosixPath

from clozekit.tokenizers.common.errors import InputError


class PresetFiles:
    """The files of one preset, wherever they are. Nothing in them is ever executed.

    source: what to call the preset in an error.
    A subclass implements `_fetch`, `local_directory` and, where it costs little, `names`.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    def path(self, name: str, required: bool = True) -> Path | None:
        """Local path of the file `name` ("assets/tokenizer/vocabulary.txt"), downloaded when it is not here yet.

        A file that the preset lacks: None, or an InputError if it is `required`.
        """
        check_name(name)
        found = self._fetch(name)
        if found is None and required:
            raise self._lacks(name)
        return found

    def required_path(self, name: str) -> Path:
        """`path` of a file that must be there."""
        found = self.path(name)
        assert found is not None
        return found

    def names(self) -> list[str] | None:
        """Names of all files, sorted; None where the source cannot say it cheaply."""
        return None

    def local_directory(self) -> Path:
        """A directory that holds all files of the preset, at their names."""
        raise NotImplementedError

    def _fetch(self, name: str) -> Path | None:
        raise NotImplementedError

    def lacks(self, *names: str) -> InputError:
        """The error where the preset holds none of the files `names`."""
        return InputError(f"a preset must hold {' or '.join(names)}, {self.source} does not; {self._advice(names)}")

    def _lacks(self, name: str) -> InputError:
        return self.lacks(name)

    def _advice(self, names: tuple[str, ...]) -> str:
        return "check that it is one, or complete it"


class LocalFiles(PresetFiles):
    """A preset in a directory of this machine."""

    def __init__(self, directory: str | Path) -> None:
        super().__init__(str(directory))
        self._directory = Path(directory)

    def names(self) -> list[str]:
        return relative_names(self._directory)

    def local_directory(self) -> Path:
        return self._directory

    def _fetch(self, name: str) -> Path | None:
        path = self._directory / name
        return path if path.is_file() else None

    def _advice(self, names: tuple[str, ...]) -> str:
        # The folder around a preset is taken for it: what `adapt`, the demo and other trainers write holds one.
        found = sorted({path.parent.name for name in names for path in self._directory.glob(f"*/{name}")})
        if not found or len(found) > 3:
            return super()._advice(names)
        return f"pass {' or '.join(str(self._directory / folder) for folder in found)}, which does"


def relative_names(directory: Path) -> list[str]:
    """Names of the files below `directory`, with "/" between the parts, sorted."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def check_name(name: str) -> None:
    """Raises InputError for a name that could lead out of the preset."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0] or not name.isprintable():
        raise InputError(f"the name of a preset's file must stay inside the preset, got {name!r:.200}; correct it")
    if max(len(part.encode("utf-8", "surrogatepass")) for part in parts) > 255 or len(name) > 1000:
        raise InputError(
            f"the name of a preset's file must be one that file systems take, got {name!r:.200}; correct it"
        )


def root_of(path: Path, name: str) -> Path:
    """The directory below which `path` is the file `name`."""
    return path.parents[len(PurePosixPath(name).parts) - 1]
