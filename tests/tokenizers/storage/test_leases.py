"""Leases of folders in a store: a second owner is refused, a killed one is replaced, a replaced one is told."""

import json
import os
import threading
import uuid
from typing import Any

import fsspec
import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage import leases
from clozekit.tokenizers.storage.leases import Lease

REFUSAL = "one run at a time writes into a directory, another one is at work in it; wait"


@pytest.fixture
def path() -> str:
    return f"memory://bucket/{uuid.uuid4().hex}/_lock.json"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process is taken for one of another machine, which can't be asked for."""
    monkeypatch.setattr(leases, "_has_ended", lambda record: False)


def lease(path: str, beat_seconds: float = 0.02, lease_seconds: float = 0.2) -> Lease:
    return Lease(path, "it", REFUSAL, beat_seconds, lease_seconds)


def record(path: str) -> Any:
    return json.loads(fsspec.filesystem("memory").cat_file(path.removeprefix("memory:/")))


def forge(path: str, **values: Any) -> None:
    fsspec.filesystem("memory").pipe_file(path.removeprefix("memory:/"), json.dumps(values).encode())


def test_a_second_owner_is_refused_while_the_first_is_alive(path: str) -> None:
    with lease(path), pytest.raises(InputError) as caught, lease(path, lease_seconds=5.0):
        pass
    assert str(caught.value) == REFUSAL
    # The record goes with its owner, and the next one comes at once.
    assert not fsspec.filesystem("memory").exists(path.removeprefix("memory:/"))
    with lease(path) as held:
        held.check()


def test_a_killed_owner_of_another_machine_is_replaced_after_the_time_that_is_stated(
    path: str, elsewhere: None, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(path, owner="somebody", pid=1, host="elsewhere", machine="x", beat=7)
    with lease(path) as held:
        held.check()
        assert record(path)["owner"] != "somebody"
    assert "waiting 0 s at most for a sign of it" in capsys.readouterr().out


def test_a_killed_owner_of_this_machine_is_replaced_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_process(pid: int, number: int) -> None:
        raise ProcessLookupError

    forge(path, **{**leases._place_of_this_process(), "owner": "somebody", "pid": 99, "beat": 7})
    monkeypatch.setattr(os, "kill", no_such_process)
    with lease(path, lease_seconds=1e9):
        assert record(path)["owner"] != "somebody"


def test_a_lease_that_was_replaced_is_told_and_leaves_the_record_of_the_other(path: str) -> None:
    with lease(path) as held:
        forge(path, owner="another")
        held._thread.join(timeout=30)
        with pytest.raises(InputError, match="another one has taken it over"):
            held.check()
    assert record(path) == {"owner": "another"}


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"pid": "x"}', b'{"pid": -1}', b"\xff", b"[" * 9000])
def test_a_record_that_says_nothing_is_waited_for_and_replaced(path: str, content: bytes) -> None:
    fsspec.filesystem("memory").pipe_file(path.removeprefix("memory:/"), content)
    with lease(path):
        assert record(path)["pid"] == os.getpid()


def test_of_many_at_once_one_gets_it(path: str) -> None:
    inside, most, got, refused = 0, 0, 0, 0
    guard, together = threading.Lock(), threading.Barrier(4)

    def work() -> None:
        nonlocal inside, most, got, refused
        together.wait()
        try:
            with lease(path, lease_seconds=30.0):
                with guard:
                    inside, got = inside + 1, got + 1
                    most = max(most, inside)
                done.wait(0.1)
                with guard:
                    inside -= 1
        except InputError:
            with guard:
                refused += 1

    done = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, got + refused) == (1, 4)
