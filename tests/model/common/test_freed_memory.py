"""Freed memory that is kept: what is taken again costs no page faults."""

import resource

import numpy as np
import pytest

from clozekit.model.common.freed_memory import keep_freed_memory


def page_faults(times: int) -> int:
    """Of taking, writing and freeing 32 MB, which is 8,192 pages, so often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(4 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_that_is_kept_is_not_asked_for_again() -> None:
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    page_faults(1)
    assert page_faults(10) < 1000
