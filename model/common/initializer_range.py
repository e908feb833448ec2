"""How far fresh kernels and embeddings spread around zero, for the models that are built inside a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of BERT (Devlin et al. 2018) and the families after it, for 768 values of a hidden state.
USUAL = 0.02
_RANGE: ContextVar[float] = ContextVar("initializer_range", default=USUAL)


def initializer_range() -> float:
    """The standard deviation that initializers have which are made here."""
    return _RANGE.get()


@contextmanager
def with_initializer_range(stddev: float | None) -> Iterator[None]:
    """Initializers that are made inside have this standard deviation; the usual one with None."""
    token = _RANGE.set(USUAL if stddev is None else stddev)
    try:
        yield
    finally:
        _RANGE.reset(token)
