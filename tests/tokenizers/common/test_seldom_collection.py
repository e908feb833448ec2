"""No looking for garbage inside the block; what was garbage is found later, and nobody's setting changes."""

import gc
import subprocess
import sys
import weakref

import pytest

from clozekit.tokenizers.common.seldom_collection import paused_collection


class Cycle:
    def __init__(self) -> None:
        self.own = self


@pytest.mark.parametrize("is_frozen", [True, False])
def test_garbage_is_found_after_the_block(is_frozen: bool) -> None:
    """And what was frozen stays so, nothing else is."""
    if not is_frozen:
        gc.unfreeze()
    frozen = gc.get_freeze_count()
    assert (frozen > 0) == is_frozen
    with paused_collection():
        assert not gc.isenabled()
        lost = weakref.ref(Cycle())
        kept = [Cycle() for _ in range(5_000)]
        assert lost() is not None
    # Some of what was frozen may have gone by itself, none came.
    assert gc.isenabled() and (frozen > 0) == (gc.get_freeze_count() > 0) and gc.get_freeze_count() <= frozen
    assert len(kept) == 5_000
    gc.collect()
    assert lost() is None
    # As it was.
    gc.freeze()


def test_who_collects_by_hand_goes_on_so() -> None:
    gc.disable()
    try:
        with paused_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("argv", "expected"), [("None", (100_000, 20, 100)), ("sys.argv[1:]", (700, 10, 10))])
def test_a_process_of_the_command_looks_seldom_and_a_program_that_calls_it_as_it_did(
    argv: str, expected: tuple[int, int, int]
) -> None:
    code = f"import gc, sys; from clozekit.deploy.cli.main import main; main({argv}); print(gc.get_threshold())"
    words = [sys.executable, "-c", code, "inspect", "nowhere"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert (ended.stdout.strip(), "nowhere" in ended.stderr) == (str(expected), True)
