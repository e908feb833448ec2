"""Files that a command writes where an option says: new ones, or ones that it wrote before."""

import json
from collections.abc import Callable
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, read_text, reason_of
from clozekit.tokenizers.storage.owned_files import check_writable


def check_result_target(path: str) -> None:
    """Raises InputError where a file is that `evaluate` did not write; a device, such as /dev/stdout, may be."""
    filesystem, name = open_file_system(path)
    if filesystem.isdir(name):
        raise InputError(f"--output must name a file, {path} is a directory; name a file in it")
    if not filesystem.isfile(name):
        if is_local(filesystem) and not filesystem.exists(name):
            check_writable("a result", Path(name).absolute().parent, "name another --output")
        return
    try:
        content = json.loads(read_text(path))
    except OSError as error:
        raise InputError(
            f"--output must be a file that can be written, {path} can't be read ({reason_of(error)})"
        ) from error
    except (ValueError, RecursionError):
        content = None
    if (
        not isinstance(content, dict)
        or "preset" not in content
        or not {"perplexity", "pseudo_perplexity"} & set(content)
    ):
        raise InputError(
            f"--output is a new file, or one that `clozekit evaluate` wrote, {path} is something else; name another"
        )


def check_own_file(option: str, what: str, path: str, command: str, is_ours: Callable[[str], bool]) -> None:
    """Raises InputError where something is that the command did not write.

    option, what: in the words of the line ("--page", "a page"); is_ours: of the text of the file that is there.
    """
    filesystem, name = open_file_system(path)
    if not filesystem.exists(name):
        if is_local(filesystem):
            check_writable(what, Path(name).absolute().parent, f"name another {option}")
        return
    try:
        mine = filesystem.isfile(name) and is_ours(read_text(path))
    except (OSError, UnicodeDecodeError):
        mine = False
    if not mine:
        raise InputError(
            f"{option} is a new file, or one that `clozekit {command}` wrote, {path} is something else; name another"
        )
