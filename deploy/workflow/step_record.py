"""The folder of a step: what it was made from, its log, and whether what it wrote is still whole."""

import json
import os
import posixpath
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.workflow.input_content import ContentHashes, mark_of
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, read_text, write_text
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, is_temporary

FACTS_FILE, RECORD_FILE, SETTINGS_FILE, JOB_FILE, LOG_FILE = (
    "facts.json",
    "step.json",
    "settings.yaml",
    "job.yaml",
    "log.txt",
)
# Files that come and go while somebody looks at an output.
_PASSING = ("_lock", OWNED_FILE)


@dataclass(frozen=True)
class Record:
    """A step that is done. seconds: it took, all starts together; starts: of its command; outputs: place -> path in it ->
    [bytes, hash]."""

    fingerprint: str
    seconds: float
    starts: int
    outputs: dict[str, dict[str, list[Any]]]


def read_json(path: str) -> dict[str, Any] | None:
    """The object in a file, None where there is none, or one that was not written whole."""
    filesystem, name = open_file_system(path)
    if not filesystem.isfile(name):
        return None
    try:
        found = json.loads(read_text(path))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def read_record(folder: str) -> Record | None:
    found = read_json(posixpath.join(folder, RECORD_FILE))
    try:
        return None if found is None else Record(**found)
    except TypeError:
        return None


def write_record(folder: str, record: Record) -> None:
    write_text(posixpath.join(folder, RECORD_FILE), json.dumps(record.__dict__, indent=1) + "\n")


def listing(place: str, hashes: ContentHashes) -> dict[str, list[Any]] | None:
    """Path -> [bytes, hash] of all files at a place, a file or a folder, "" for a file; None where nothing is there."""
    filesystem, root = open_file_system(place)
    root = root.rstrip("/")
    if not filesystem.exists(root):
        return None
    if filesystem.isfile(root):
        found = {"": filesystem.info(root)}
    else:
        found = {str(name).removeprefix(f"{root}/"): info for name, info in filesystem.find(root, detail=True).items()}
    made = {}
    for name, info in sorted(found.items()):
        if name.rpartition("/")[2] in _PASSING or is_temporary(name):
            continue
        path = os.path.join(root, name) if name else root
        mark = hashes.of_file(path) if is_local(filesystem) else mark_of(info)
        made[name] = [int(info["size"]), mark]
    return made


def damage(record: Record, hashes: ContentHashes) -> str | None:
    """What is no longer as it was written, in a few words; None where all is whole."""
    for place, before in record.outputs.items():
        now = listing(place, hashes)
        if now is None:
            return f"{place} is gone"
        for name, was in before.items():
            path = posixpath.join(place, name) if name else place
            if name not in now:
                return f"{path} is gone"
            if list(now[name]) != list(was):
                return f"{path} is not what was written"
    return None
