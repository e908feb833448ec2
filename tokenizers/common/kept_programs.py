"""What XLA compiled for CPUs, kept on this machine: a run whose programs are there does not compile them again.

TensorFlow finds a program by its operations, compares all of them, and loads it in the place of compiling: a run goes on with the
very machine code of the run before. What it can't read would end the run, so files that are not whole are removed beforehand.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from clozekit.tokenizers.common.cores_here import cores_here

VARIABLE = "CLOZEKIT_PROGRAMS"
_FLAGS = "TF_XLA_FLAGS"
_BEGIN, _END = "--tf_xla_persistent_cache_directory=", " --tf_xla_persistent_cache_device_types=CPU"
# What TensorFlow calls them; while it writes one, something with `.tmp` is behind it.
_PROGRAMS = "xla_compile_cache*.pb"
_UNFINISHED = "xla_compile_cache*.tmp"
# A step of a small model takes 2 MB, one of twelve layers some 10.
MOST_BYTES = 512 * 10**6
# Less room than that is left to others: TensorFlow takes a file that it can't write for the end of the run.
_ROOM_BYTES, _PROBE_BYTES = 10**9, 32 * 10**6
# Nobody is at work on what is older.
_LONGEST_WRITE, _LONGEST_START = 3600.0, 86400.0
# Kinds of protobuf's fields: a number, eight bytes, a length and so many bytes, four bytes.
_NUMBER, _EIGHT, _COUNTED, _FOUR = 0, 1, 2, 5


def keep_programs() -> Path | None:
    """Tells TensorFlow where, which has to happen before it is loaded. Returns the folder, None where nothing is kept.

    That is below `~/.cache/clozekit/programs`, or below the folder that CLOZEKIT_PROGRAMS names; with 0 in it nothing is kept. One
    folder for each version of TensorFlow, kind of processor, number of cores and set of XLA's flags, since programs of one are none
    of another. Whoever sets TF_XLA_FLAGS, or lets XLA dump what it compiles, is left alone.
    """
    told = os.environ.get(_FLAGS, "")
    if told.startswith(_BEGIN) and told.endswith(_END):
        # Of the process that started this one.
        del os.environ[_FLAGS]
    chosen = os.environ.get(VARIABLE)
    if chosen in ("", "0") or os.environ.get(_FLAGS) or "xla_dump" in os.environ.get("XLA_FLAGS", ""):
        return None
    try:
        root = Path(chosen).expanduser().absolute() if chosen else Path.home() / ".cache" / "clozekit" / "programs"
        folder = root / _kind()
        if not re.fullmatch(r"[^\s\"'=]+", str(folder)):
            # TensorFlow ends a flag there.
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < _ROOM_BYTES:
            return None
        # Whether files can be made there: a mode does not tell of a read-only disk, nor free space of a quota.
        with tempfile.TemporaryFile(dir=folder) as probe:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(probe.fileno(), 0, _PROBE_BYTES)
            else:
                probe.write(bytes(_PROBE_BYTES))
        make_room(root)
        remove_broken(folder)
    except (OSError, RuntimeError, importlib.metadata.PackageNotFoundError):
        # Nothing is lost but time: a home that is read-only, full, or not there; a TensorFlow of another name.
        return None
    os.environ[_FLAGS] = f"{_BEGIN}{folder}{_END}"
    return folder


def _kind() -> str:
    """What a program holds for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line for line in lines if line.startswith(("flags", "Features"))]
    # Asked only where it has to be: on Linux it starts a process.
    processor = named[0] if named else platform.processor()
    version = importlib.metadata.version("tensorflow")
    variables = [os.environ.get(name, "") for name in ("XLA_FLAGS", "TF_NUM_INTRAOP_THREADS")]
    # XLA cuts loops for the cores that it finds.
    told = "|".join([version, platform.machine(), processor, str(cores_here()), *variables])
    return f"{version}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def make_room(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Removes the oldest programs below a folder until all of them are at most so many bytes, but none of the last day, which a run
    that starts may be about to read; and what was left unfinished."""
    now = time.time()
    for path in root.glob(f"*/{_UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > _LONGEST_WRITE:
                path.unlink()
    found = []
    for path in root.glob(f"*/{_PROGRAMS}"):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in found) - most_bytes
    for written, size, path in sorted(found):
        if excess <= 0 or now - written <= _LONGEST_START:
            return
        path.unlink(missing_ok=True)
        excess -= size


def remove_broken(folder: Path) -> None:
    """Removes files that end before their last field does, as a machine that failed may leave them."""
    for path in folder.glob(_PROGRAMS):
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
                if stream.tell() + length > size:
                    return False
                stream.seek(length, os.SEEK_CUR)
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
