"""The settings of `clozekit compact`: which windows of a stream become a dataset, and what of its settings is otherwise."""

import datetime
from dataclasses import dataclass

from clozekit.pipelines.settings.choices import check_choice
from clozekit.pipelines.settings.corpus_settings import DUPLICATE_KINDS
from clozekit.pipelines.settings.prepare_settings import check_at_least, check_lengths
from clozekit.tokenizers.common.errors import InputError


@dataclass(frozen=True)
class CompactSettings:
    """Which windows of a stream become a dataset, and how its documents become rows.

    last: only the last so many windows.
    since: only windows that begin at this time or later, as 2026-11-29 or 2026-11-29T05:30:00, UTC.
    until: only windows that begin before this time.
    deduplicate: none, exact or near; what the stream was told, if not given.
    sequence_length: tokens a row holds; those of the stream, if not given; several make a dataset each in one pass.

    Raises:
        InputError: for a number below 1, and a time that can't be read.

    Example:

        >>> from clozekit.pipelines.settings.compact_settings import CompactSettings
        >>> CompactSettings(since="2026-11-29").bounds()
        (1795910400, None)
        >>> CompactSettings(until="yesterday")
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: until must be a time such as 2026-11-29 or 2026-11-29T05:30:00, got
        'yesterday'
    """

    last: int | None = None
    since: str | None = None
    until: str | None = None
    deduplicate: str | None = None
    sequence_length: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.last is not None:
            check_at_least("last", self.last, 1)
        if self.deduplicate is not None:
            check_choice("deduplicate", self.deduplicate, DUPLICATE_KINDS)
        if self.sequence_length:
            check_lengths(self.sequence_length)
        self.bounds()

    def bounds(self) -> tuple[int | None, int | None]:
        """since and until in seconds since 1970."""
        return _seconds("since", self.since), _seconds("until", self.until)


def _seconds(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{name} must be a time such as 2026-11-29 or 2026-11-29T05:30:00, got {text!r}") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
