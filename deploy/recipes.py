"""Recipes that come with Clozekit: ready YAML files, by name, and what the head of each says."""

from dataclasses import dataclass
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError

_ROOT = Path(__file__).parents[1]
PREPARE, TRAIN, FINETUNE = "prepare", "train", "finetune"
# Verb -> where its recipes are, and what stands before their names.
FOLDERS = {
    PREPARE: (_ROOT / "pipelines" / "recipes", ""),
    TRAIN: (_ROOT / "model" / "training" / "recipes", ""),
    FINETUNE: (_ROOT / "model" / "training" / "recipes" / "glue", "glue/"),
}


@dataclass(frozen=True)
class ReadyRecipe:
    """verb: what takes it; name: what it is called on the command line; head: the lines of comment at its top."""

    verb: str
    name: str
    path: Path
    head: tuple[str, ...]


def ready_recipes() -> list[ReadyRecipe]:
    """All of them, in the order of their verbs and names."""
    return [
        ReadyRecipe(verb, prefix + path.stem, path, head_of(path))
        for verb, (folder, prefix) in FOLDERS.items()
        for path in sorted(folder.glob("*.yaml"))
    ]


def head_of(path: Path) -> tuple[str, ...]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return tuple(lines)


def find_recipe(name: str, verb: str) -> str:
    """The path of a recipe: the file of that name, else the ready recipe of `verb`. Raises InputError where a plain name
    is neither."""
    if "/" in name or "\\" in name or "." in name or Path(name).exists():
        return name
    ready = {recipe.name: recipe for recipe in ready_recipes() if recipe.verb == verb}
    if name not in ready:
        raise InputError(f"the ready recipes of {verb} are {', '.join(ready)}, got {name}; or name a file (NAME.yaml)")
    return str(ready[name].path)
