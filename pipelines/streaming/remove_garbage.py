"""Garbage: files that a killed committer wrote and no fragment names; removed where nobody can be about to name them."""

import datetime
from typing import Any

from clozekit.pipelines.dataset.chain import FROZEN_FOLDER
from clozekit.pipelines.dataset.chain_schema import is_content_name
from clozekit.pipelines.storage.files import is_local, join, list_names, remove
from clozekit.pipelines.streaming.open_stream import FOLDERS, Stream
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import is_temporary

# In a store, where there are no locks: a committer that takes half of it begins anew, so nobody names what is older.
HOURS_KEPT = 24


def remove_garbage(stream: Stream, waits: bool = False) -> list[str]:
    """Removes what no fragment names or the chain says is pruned, and known hashes that the last one does not name; gives the
    names.

    On a local disk nothing is removed while a committer is at work, unless this waits for it; in a store nothing that is
    younger than a day. A frozen pane that no fragment names stays: it is waiting. Nothing is touched but files that a stream
    names by their content.
    """
    with stream.writing(alone=True, waits=waits) as is_alone:
        filesystem, root = open_file_system(stream.directory)
        local = is_local(filesystem)
        if local and not is_alone:
            return []
        stream.read_on()
        needed = stream.needed()
        # Of a beginning that was killed.
        removed = [name for name in list_names(stream.directory) if local and is_temporary(name)]
        for name in removed:
            remove(join(stream.directory, name))
        for folder in FOLDERS:
            for name, info in _entries(filesystem, f"{root.rstrip('/')}/{folder}").items():
                path = f"{folder}/{name}"
                is_waiting = folder == FROZEN_FOLDER and path not in stream.named
                ours = is_content_name(path) and path not in needed and not is_waiting
                ours = ours or is_temporary(name)
                if ours and (local or _is_old(info)):
                    remove(join(stream.directory, path))
                    removed.append(path)
        return sorted(removed)


def _entries(filesystem: Any, folder: str) -> dict[str, dict[str, Any]]:
    if not filesystem.isdir(folder):
        return {}
    found = filesystem.find(folder, detail=True)
    return {str(name).removeprefix(f"{folder}/"): info for name, info in found.items() if info["type"] == "file"}


def _is_old(info: dict[str, Any]) -> bool:
    """Whether the store says that a file is older than what may still be named; one of unknown age is kept."""
    said = info.get("updated") or info.get("LastModified")
    if said is None:
        return False
    written = said if isinstance(said, datetime.datetime) else datetime.datetime.fromisoformat(str(said))
    return datetime.datetime.now(datetime.UTC) - written > datetime.timedelta(hours=HOURS_KEPT)
