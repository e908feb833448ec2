"""Perplexity of a loss, within what the log of a run takes for a number."""

import math

# e to this is 5e299: readers of logs take no number above 1e300.
_MOST_NATS = 690.0


def perplexity(loss: float) -> float:
    """exp of a loss in nats a token.

    Example:

        >>> from clozekit.model.common.perplexity import perplexity
        >>> perplexity(0.0), perplexity(1e9) < 1e300
        (1.0, True)
    """
    return math.exp(min(loss, _MOST_NATS))
