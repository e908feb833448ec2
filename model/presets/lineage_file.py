"""`lineage.json` of a preset: written beside the files that it names by their hashes, held against them when it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clozekit.model.presets.lineage import LINEAGE_FILE, Lineage, lineage_from_json, lineage_to_json, linked
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.open_preset import open_preset
from clozekit.tokenizers.hub.preset_checksums import sha256_of
from clozekit.tokenizers.hub.preset_files import PresetFiles, relative_names
from clozekit.tokenizers.storage.owned_files import OWNED_FILE

if TYPE_CHECKING:
    # Numba comes with it.
    from clozekit.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Origin:
    """What a preset that is being written came from.

    Args:
        made_by: the verb that writes it.
        layout: as of `clozekit convert --to`.
        before: "checkpoint", "source" and so on -> the lineages of those.
        tokenizer: its own; None where it has none.
        fields: what else is said of it, by hash and count.
    """

    made_by: str
    before: Mapping[str, tuple[Lineage, ...]]
    layout: str = "clozekit"
    tokenizer: "Tokenizer | None" = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def write_lineage(directory: Path, origin: Origin | None) -> None:
    """Writes the lineage of the preset whose files stand in `directory`, behind all of them; nothing without an origin."""
    if origin is None:
        return
    names = [name for name in relative_names(directory) if name not in (LINEAGE_FILE, OWNED_FILE)]
    fields = {
        **origin.fields,
        "made_by": origin.made_by,
        "layout": origin.layout,
        "files": {name: sha256_of(directory / name) for name in names},
        "tokenizer": None if origin.tokenizer is None else describe_tokenizer(origin.tokenizer),
    }
    (directory / LINEAGE_FILE).write_text(
        lineage_to_json(linked("preset", fields, origin.before)), encoding="utf-8", newline="\n"
    )


def describe_tokenizer(tokenizer: "Tokenizer") -> dict[str, Any]:
    """What a link says of a tokenizer: the same as a manifest does."""
    return {
        "class_name": type(tokenizer).__name__,
        "sha256": tokenizer.sha256(),
        "vocabulary_size": tokenizer.vocabulary_size(),
    }


def read_lineage(files: PresetFiles) -> Lineage | None:
    """What the preset says of itself, None where it says nothing. Raises InputError for a file that is no lineage, or was
    changed."""
    path = files.path(LINEAGE_FILE, required=False)
    return None if path is None else lineage_from_json(path.read_bytes(), f"{files.source}: {LINEAGE_FILE}")


def lineage_in(directory: str, what: str) -> Lineage | None:
    """The lineage in a folder, at a path or URL, of a link of that kind; None where there is none that is whole."""
    try:
        found = read_lineage(open_preset(directory))
    except InputError:
        return None
    return found if found is not None and found.link["what"] == what else None


def files_of(lineage: Lineage) -> dict[str, str]:
    """Name -> sha256 of the files that a preset's link names."""
    files = lineage.link.get("files")
    return {name: str(sha256) for name, sha256 in files.items()} if isinstance(files, dict) else {}


def changed_files(files: PresetFiles, lineage: Lineage) -> list[tuple[str, str, str | None]]:
    """(name, the sha256 that was written, that of the file here or None) of those that are not what was written.

    Raises InputError for a name that leads out of the preset.
    """
    changed = []
    for name, written in files_of(lineage).items():
        path = files.path(name, required=False)
        found = None if path is None else sha256_of(path)
        if found != written:
            changed.append((name, written, found))
    return changed
