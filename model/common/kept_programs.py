"""What XLA compiled for CPUs, kept on this machine: a run whose programs are there does not compile them again.

TensorFlow finds a program by its operations, compares all of them, and loads it in the place of compiling: a run goes on with the
very machine code of the run before. What it can't read would end the run, so files that are not whole are removed beforehand.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

VARIABLE = "CLOZEKIT_PROGRAMS"
_FLAGS = "TF_XLA_FLAGS"
_DIRECTORY = "--tf_xla_persistent_cache_directory"
# A step of a small model takes 2 MB, one of twelve layers some 10.
MOST_BYTES = 512 * 10**6
# Less room than that is left to others: TensorFlow takes a file that it can't write for the end of the run.
_ROOM_BYTES = 10**9
# Kinds of protobuf's fields: a number, eight bytes, a length and so many bytes, four bytes.
_NUMBER, _EIGHT, _COUNTED, _FOUR = 0, 1, 2, 5


def keep_programs() -> Path | None:
    """Tells TensorFlow where, which has to happen before it is loaded. Returns the folder, None where nothing is kept.

    That is below `~/.cache/clozekit/programs`, or below the folder that CLOZEKIT_PROGRAMS names; with 0 in it nothing is kept. One
    folder for each version of TensorFlow, kind of processor and set of XLA's flags, since programs of one are none of another.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen in ("", "0") or _DIRECTORY in os.environ.get(_FLAGS, ""):
        return None
    try:
        root = Path(chosen) if chosen else Path.home() / ".cache" / "clozekit" / "programs"
        folder = root / _kind()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < _ROOM_BYTES:
            return None
        # Whether files can be made there: a mode does not tell of a read-only disk.
        tempfile.TemporaryFile(dir=folder).close()
        make_room(root)
        remove_broken(folder)
    except (OSError, RuntimeError):
        # Nothing is lost but time: a home that is read-only, full, or not there.
        return None
    ours = f"{_DIRECTORY}={folder} --tf_xla_persistent_cache_device_types=CPU"
    os.environ[_FLAGS] = " ".join(filter(None, (os.environ.get(_FLAGS), ours)))
    return folder


def _kind() -> str:
    """What a program holds for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    version = importlib.metadata.version("tensorflow")
    told = [version, platform.machine(), processor, *(os.environ.get(name, "") for name in (_FLAGS, "XLA_FLAGS"))]
    return f"{version}-{hashlib.sha256('|'.join(told).encode()).hexdigest()[:16]}"


def make_room(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Removes the oldest files below a folder until all of them are at most so many bytes."""
    found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in root.glob("*/*.pb"))
    excess = sum(size for _, size, _ in found) - most_bytes
    for _, size, path in found:
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def remove_broken(folder: Path) -> None:
    """Removes files that end before their last field does, as a machine that failed may leave them."""
    for path in folder.glob("*.pb"):
        with contextlib.suppress(FileNotFoundError):
            with path.open("rb") as stream:
                is_whole = _is_whole(stream, path.stat().st_size)
            if not is_whole:
                path.unlink(missing_ok=True)


def _is_whole(stream: BinaryIO, size: int) -> bool:
    """Whether a protobuf's fields fill its file."""
    try:
        for kind in _numbers(stream):
            kind &= 7
            if kind == _NUMBER:
                next(_numbers(stream))
            elif kind in (_EIGHT, _COUNTED, _FOUR):
                length = {_EIGHT: 8, _FOUR: 4}.get(kind) or next(_numbers(stream))
                if stream.seek(length, os.SEEK_CUR) > size:
                    return False
            else:
                return False
    except StopIteration:
        return False
    return stream.tell() == size > 0


def _numbers(stream: BinaryIO) -> Iterator[int]:
    """Varints from here on, until the file ends."""
    while True:
        value = shift = 0
        while True:
            byte = stream.read(1)
            if not byte or shift > 63:
                return
            value |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        yield value
