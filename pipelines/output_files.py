"""Which files of an output are `prepare`'s own: what it may replace and remove there, and what is in its way."""

import json
import re
from collections.abc import Callable, Collection, Iterable

from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.rows.write_shards import PARTS_FOLDER
from clozekit.pipelines.running.stage import SIDE_FOLDERS
from clozekit.pipelines.storage.files import join, list_names, read_many
from clozekit.pipelines.storage.locks import LOCK_FILE
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.conditional_writes import ChangedMeanwhileError, version_of, write_if_unchanged
from clozekit.tokenizers.storage.owned_files import (
    OWNED_FILE,
    Owned,
    check_own_folder,
    is_temporary,
    list_files,
    owned_to_json,
    read_owned,
)

MADE_BY = "prepare"
CHOOSE = "pass another --output"
BLOCKS_FOLDER = "_blocks"
# Files of a build whose number or name is not known before it runs; what stands in for the id is in the list of ours.
_BY_ID = re.compile(
    rf"{PARTS_FOLDER}/([0-9a-f]{{16}})/(?:{'|'.join(SPLITS)})-\d{{5,}}\.json"
    rf"|(?:{'|'.join(SIDE_FOLDERS)})/part-\d{{5,}}-([0-9a-f]{{8}})\.jsonl(?:\.gz)?"
    rf"|{BLOCKS_FOLDER}-([0-9a-f]{{16}})/[0-9a-f]{{32}}"
)
SHARD_NAME = re.compile(rf"(?:{'|'.join(SPLITS)})-\d{{5,}}-of-\d{{5,}}-[0-9a-f]{{8}}\.tfrecord")
_ATTEMPTS = 10


def id_of(name: str) -> str | None:
    """The id in the name of a part, a side file or a block, None for other names."""
    found = _BY_ID.fullmatch(name)
    return None if found is None else next(group for group in found.groups() if group)


def is_ours(directory: str) -> Callable[[str], bool]:
    """Tells of a path in `directory` whether a build wrote it: it is named, its id is, or a part file of ours names it."""
    owned = read_owned(directory)
    if owned is None or owned.made_by != MADE_BY:
        return is_temporary
    shards = {shard for build in owned.ids for shard in parts_of(directory, build).values()}
    names, ids = owned.names | shards, owned.ids
    return lambda name: name in names or id_of(name) in ids or is_temporary(name)


def parts_of(directory: str, build: str) -> dict[str, str | None]:
    """Path of each part file of a build (by the 16 digits of its id) -> the shard that it names, None where it is damaged."""
    folder = f"{PARTS_FOLDER}/{build}"
    names = [f"{folder}/{name}" for name in list_names(join(directory, folder))]
    parts = [name for name in names if id_of(name) == build]
    contents = read_many([join(directory, name) for name in parts])
    return {name: _shard_of_part(content) for name, content in zip(parts, contents, strict=True)}


def _shard_of_part(content: bytes) -> str | None:
    try:
        name = json.loads(content)["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # The shard is written again, and this part with it.
        return None
    return name if isinstance(name, str) and SHARD_NAME.fullmatch(name) else None


def check_output(directory: str, planned: Collection[str], parent: str | None = None) -> list[str]:
    """The paths of what earlier builds have left in `directory`. Raises InputError where anything else is in the way.

    planned: paths that the build will write; parent: where the same build writes too. Folders named by a number may be datasets of other lengths.
    """
    ours = is_ours(directory)
    others = {
        name.split("/")[0] for name in list_files(directory) if re.fullmatch(rf"\d+/{re.escape(OWNED_FILE)}", name)
    }

    def may_stay(name: str) -> bool:
        is_lock = re.fullmatch(rf"(\d+/)?{LOCK_FILE}", name) is not None
        return is_lock or ours(name) or (name.split("/")[0] in others and name not in planned)

    names = check_own_folder("a dataset", directory, may_stay, CHOOSE, parent)
    return [name for name in names if ours(name)]


def claim(directory: str, names: Iterable[str], ids: Iterable[str]) -> None:
    """Notes that what is going to be written under these names, and names with these ids, is ours."""

    def with_these(owned: Owned) -> Owned:
        return Owned(MADE_BY, owned.names | set(names), owned.ids | set(ids))

    _change(directory, with_these)


def release(directory: str, names: Iterable[str], ids: Iterable[str], gone_ids: Collection[str]) -> None:
    """Notes what is there at the end of a build: `names` and files with `ids`; other ids stay but for `gone_ids`, since
    they may be another build's, of another machine, that is still at work."""

    def at_the_end(owned: Owned) -> Owned:
        return Owned(MADE_BY, frozenset(names), (owned.ids - set(gone_ids)) | set(ids))

    _change(directory, at_the_end)


def _change(directory: str, change: Callable[[Owned], Owned]) -> None:
    path = join(directory, OWNED_FILE)
    for _ in range(_ATTEMPTS):
        seen = version_of(path)
        before = read_owned(directory) or Owned(MADE_BY)
        after = change(before)
        if seen is not None and after == before:
            return
        try:
            write_if_unchanged(path, owned_to_json(after), seen)
            return
        except ChangedMeanwhileError:
            # Another machine's build wrote it in this moment: both must stand there.
            continue
    raise InputError(f"{path} changes all the time: other builds write into {directory}; {CHOOSE}")
