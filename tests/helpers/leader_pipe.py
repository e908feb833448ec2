"""What the stand-ins for commands share: the journal of the tests, and the pipe that closes when their leader ends."""

import os
import threading
from collections.abc import Callable


def note(*words: object) -> None:
    """Adds a line to the file CLOZEKIT_TEST_JOURNAL."""
    with open(os.environ["CLOZEKIT_TEST_JOURNAL"], "a", encoding="utf-8") as stream:
        stream.write(" ".join(map(str, words)) + "\n")


def when_leader_ends(stop: Callable[[], object]) -> None:
    """Calls `stop` when the standard input closes."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()
