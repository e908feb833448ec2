"""Following panes: what engines froze becomes fragments, one after the other; in any process, and in as many as there are."""

import time
from collections.abc import Callable
from typing import Any

from clozekit.pipelines.dataset.chain import Fragment
from clozekit.pipelines.streaming.commit_pane import Committer
from clozekit.pipelines.streaming.open_stream import open_stream
from clozekit.pipelines.streaming.remove_garbage import remove_garbage


def follow_panes(
    directory: str,
    waits: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
    show: Callable[[Fragment], None] = lambda fragment: None,
    sleep: Callable[[float], Any] = time.sleep,
    poll_seconds: float = 1.0,
) -> int:
    """Commits the frozen panes of a stream that wait, the oldest window first, and gives how many were committed here.

    waits: goes on with those to come until `is_stopped`, which is asked between panes. show: is called with each fragment.
    sleep: waits so many seconds, or shorter when it is to stop.

    Raises InputError when there is no stream, or it is damaged.
    """
    stream = open_stream(directory)
    remove_garbage(stream)
    committer, number = Committer(stream), 0
    while True:
        for fragment in committer.commit_waiting():
            number += 1
            show(fragment)
            if is_stopped():
                return number
        if not waits or is_stopped():
            return number
        sleep(poll_seconds)
