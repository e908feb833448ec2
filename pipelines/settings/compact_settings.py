"""The settings of compacting: which windows become a dataset or one fragment, and for how long what it covers is kept."""

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


@dataclass(frozen=True)
class ReplaceSettings:
    """Which windows of a stream one fragment is to stand for: the oldest that were not compacted yet.

    until: only those before the first window that begins at this time or later, as 2026-11-29 or 2026-11-29T05:30:00, UTC.
    max_tokens: the most tokens that are compacted at once, of two windows at least, about 50 bytes of memory each (measured on
        two million); run it again for the next windows.

    Raises:
        InputError: for a number below 1, and a time that can't be read.

    Example:

        >>> from clozekit.pipelines.settings.compact_settings import ReplaceSettings
        >>> ReplaceSettings(max_tokens=0)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: max_tokens must be at least 1, got 0
    """

    until: str | None = None
    max_tokens: int = 50_000_000

    def __post_init__(self) -> None:
        check_at_least("max_tokens", self.max_tokens, 1)
        self.bound()

    def bound(self) -> int | None:
        """until in seconds since 1970."""
        return _seconds("until", self.until)


@dataclass(frozen=True)
class PruneSettings:
    """For how long the files of windows are kept that were compacted.

    retain_days: shards of training and side files go when the watermark has moved on by so many days since they were compacted.
    retain_windows: and so many windows have come since; one at least, which a run that follows takes before it reads the
        compacted rows.
    panes: frozen panes go too: the texts. What was compacted can't be compacted again or repaired then.

    Raises:
        InputError: for days below 0, and windows below 1.

    Example:

        >>> from clozekit.pipelines.settings.compact_settings import PruneSettings
        >>> PruneSettings(retain_windows=0)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: retain_windows must be at least 1, got 0
    """

    retain_days: float = 7.0
    retain_windows: int = 1
    panes: bool = False

    def __post_init__(self) -> None:
        check_at_least("retain_windows", self.retain_windows, 1)
        if not 0 <= self.retain_days < float("inf"):
            raise InputError(f"retain_days must be at least 0, got {self.retain_days}")


def _seconds(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{name} must be a time such as 2026-11-29 or 2026-11-29T05:30:00, got {text!r}") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
