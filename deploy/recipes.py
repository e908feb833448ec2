"""Recipes that come with Clozekit: ready YAML files, by name, and what the head of each says."""

from dataclasses import dataclass
from pathlib import Path

from clozekit.tokenizers.settings.ready_files import find_ready_file, ready_files

_ROOT = Path(__file__).parents[1]
PREPARE, TRAIN, FINETUNE, RUN = "prepare", "train", "finetune", "run"
# Verb -> where its recipes are, and what stands before their names.
FOLDERS = {
    PREPARE: (_ROOT / "pipelines" / "recipes", ""),
    TRAIN: (_ROOT / "model" / "training" / "recipes", ""),
    FINETUNE: (_ROOT / "model" / "training" / "recipes" / "glue", "glue/"),
    RUN: (_ROOT / "deploy" / "workflow" / "recipes", ""),
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
        ReadyRecipe(verb, name, path, head_of(path))
        for verb, place in FOLDERS.items()
        for name, path in ready_files(*place).items()
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
    return find_ready_file(name, ready_files(*FOLDERS[verb]), f"the ready recipes of {verb}")
