"""Leases: one process at a time writes into a folder of an object store, which has no locks.

Who works there says so in a record, a small JSON file, written only where nobody else has written meanwhile (a condition that
the store itself checks where it can, see `conditional_writes.py`), and writes it anew every BEAT_SECONDS. Who finds the
record of somebody else watches it: when it changes, its owner is alive, and the second one is refused; when it stays as it
is for LEASE_SECONDS, its owner was killed, and the second one takes its place. So a killed process keeps its own rerun
waiting for a minute at most; where both run on one machine the system is asked for the owner, and nobody waits. No clocks
of two machines are compared. An owner that could not write for so long that it was replaced sees it at its next beat, and
`check` tells it.
"""

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.conditional_writes import ChangedMeanwhileError, version_of, write_if_unchanged
from clozekit.tokenizers.storage.file_systems import open_file_system

BEAT_SECONDS = 20.0
LEASE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 1.0


class Lease:
    """Held while entered. path: of the record; folder: what it is about; refusal: the line that a second owner gets.

    Raises InputError on entering when somebody else holds it.
    """

    def __init__(
        self,
        path: str,
        folder: str,
        refusal: str,
        beat_seconds: float = BEAT_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._path, self._folder, self._refusal = path, folder, refusal
        self._file_system, self._name = open_file_system(self._path)
        self._beat_seconds, self._lease_seconds = beat_seconds, lease_seconds
        self._record = {"owner": uuid.uuid4().hex, **_place_of_this_process(), "beat": 0}
        self._seen: str | None = None
        self._is_lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self._seen = self._free_version()
        if not self._write():
            raise InputError(self._refusal)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if self._read() == self._record:
            self._file_system.rm(self._name)

    def check(self) -> None:
        """Raises InputError when another process has taken the folder over."""
        if self._is_lost:
            raise InputError(
                f"a run must be the only one that writes into {self._folder}, another one has taken it over while this one"
                f" could not reach it for {self._lease_seconds:.0f} s; leave it to that one"
            )

    def _free_version(self) -> str | None:
        """The version of the record that may be replaced; None when there is none. Waits while that is not known."""
        seen = version_of(self._path)
        if seen is None:
            return None
        if _has_ended(self._read()):
            return seen
        tqdm.write(
            f"  {self._folder} is held by another process, or by one that was killed: waiting"
            f" {self._lease_seconds:.0f} s at most for a sign of it"
        )
        end = time.monotonic() + self._lease_seconds
        while time.monotonic() < end:
            self._ended.wait(min(_LOOK_EVERY_SECONDS, self._beat_seconds))
            now = version_of(self._path)
            if now is None:
                return None
            if now != seen:
                raise InputError(self._refusal)
        return seen

    def _keep(self) -> None:
        while not self._ended.wait(self._beat_seconds) and not self._is_lost:
            self._record["beat"] += 1
            try:
                self._is_lost = not self._write()
            # Clients of stores raise what they like. The next beat may get through; if none does for long, somebody else
            # may take the folder over, and then a beat says so.
            except Exception:
                self._record["beat"] -= 1

    def _write(self) -> bool:
        """Writes the record; whether it is still, or now, this process's."""
        try:
            write_if_unchanged(self._path, json.dumps(self._record).encode(), self._seen)
        except ChangedMeanwhileError:
            return False
        # In this order: what is read was not written after the version was looked at.
        self._seen = version_of(self._path)
        return self._read() == self._record

    def _read(self) -> Any:
        try:
            return json.loads(self._file_system.cat_file(self._name))
        except (FileNotFoundError, ValueError, RecursionError):
            return None


def _place_of_this_process() -> dict[str, Any]:
    """What finds this process again from the same machine (and container)."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine()}


def _machine() -> str | None:
    """The boot of this machine and the space of its process numbers, where the system (Linux) says them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _has_ended(record: Any) -> bool:
    """Whether the owner is known to be gone, as it ran here."""
    here = _place_of_this_process()
    is_here = isinstance(record, dict) and all(record.get(name) == here[name] for name in ("host", "machine"))
    if not is_here or here["machine"] is None or not isinstance(record.get("pid"), int) or record["pid"] < 1:
        return False
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False
