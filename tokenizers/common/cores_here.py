"""The cores that this process may use."""

import os


def cores_here() -> int:
    """Those that it is held to, where the system can hold it to some; else all of the machine. A share of a container is not looked at."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
