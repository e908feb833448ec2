"""No looking for garbage inside the block; what was garbage is found later, and nobody's setting changes."""

import gc
import weakref

from clozekit.tokenizers.common.paused_collection import paused_collection


class Cycle:
    def __init__(self) -> None:
        self.own = self


def test_garbage_is_found_after_the_block() -> None:
    frozen = gc.get_freeze_count()
    with paused_collection():
        assert not gc.isenabled()
        lost = weakref.ref(Cycle())
        kept = [Cycle() for _ in range(5_000)]
        assert lost() is not None
    # What was frozen before may have gone meanwhile.
    assert gc.isenabled() and gc.get_freeze_count() <= frozen and len(kept) == 5_000
    gc.collect()
    assert lost() is None


def test_who_collects_by_hand_goes_on_so() -> None:
    gc.disable()
    try:
        with paused_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
