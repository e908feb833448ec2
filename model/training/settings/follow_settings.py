"""The settings of a run that follows a stream: what it replays, when it takes new windows, how its learning rate goes on."""

from dataclasses import dataclass

from clozekit.tokenizers.settings.settings_files import check


@dataclass(frozen=True)
class FollowSettings:
    """How a run follows the stream that its `dataset` is: new windows first, each row once, with a share of old rows.

    replay: share of the rows of each batch that come from windows that were trained on before, 0 to below 1, so that what they
        taught is not forgotten. last_windows: they come from the last so many windows only, and from a compacted fragment when it
        holds one of those; from all if not given.
    min_new_rows: new windows are taken when they hold so many rows; a global batch if not given. tail_seconds: or when they hold any
        and the run has waited for so long, or would end: so that the last rows of a stream are trained on too.
    warmup_steps: over which the learning rate rises at the beginning. rewarm_steps: over which it rises again, from final_rate
        of the peak, each time that new windows are taken; 0: it stays where it is.
    window_rows: rows of new windows on which the loss is measured before they are trained on.
    publish_every: the preset is written anew each so many times that new windows were taken.
    poll_seconds: how often the stream is asked for new windows while there is nothing to do. idle_seconds: the run ends when there
        was nothing new for so long; it waits for ever if not given.
    heads: numbers of fragments, to go through exactly these heads of the chain, as an earlier run did; what is there when the
        run comes to it if not given.

    Raises:
        InputError: for a share, a number or a time out of its bounds.

    Source: replay and re-warming: Ibrahim et al. 2024 (arXiv 2403.08763), section 6.

    Example:

        >>> from clozekit.model.training.settings.follow_settings import FollowSettings
        >>> FollowSettings(replay=0.25).old_rows(64)
        16
    """

    replay: float = 0.25
    last_windows: int | None = None
    min_new_rows: int | None = None
    warmup_steps: int = 100
    rewarm_steps: int = 0
    window_rows: int = 512
    publish_every: int = 1
    poll_seconds: float = 2.0
    idle_seconds: float | None = None
    tail_seconds: float = 600.0
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check("follow.replay must be at least 0 and below 1", 0 <= self.replay < 1, self.replay)
        for name in ("last_windows", "min_new_rows", "warmup_steps", "window_rows", "publish_every"):
            value = getattr(self, name)
            check(f"follow.{name} must be at least 1", value is None or value >= 1, value)
        check("follow.rewarm_steps must be at least 0", self.rewarm_steps >= 0, self.rewarm_steps)
        check("follow.poll_seconds must be above 0 and at most 3600", 0 < self.poll_seconds <= 3600, self.poll_seconds)
        idle = self.idle_seconds
        check("follow.idle_seconds must be at least 0", idle is None or idle >= 0, idle)
        check("follow.tail_seconds must be at least 0", self.tail_seconds >= 0, self.tail_seconds)
        ordered = (
            all(a < b for a, b in zip(self.heads, self.heads[1:], strict=False)) and min(self.heads, default=0) >= 0
        )
        check("follow.heads must be numbers of fragments, each above the one before", ordered, list(self.heads))

    def old_rows(self, batch_rows: int) -> int:
        """Rows of a global batch that are replayed; at least one row of it is new."""
        return min(round(self.replay * batch_rows), batch_rows - 1)


# What decides nothing but when and where things are looked at.
NO_PART_OF_THE_COURSE = (
    "follow.window_rows",
    "follow.publish_every",
    "follow.poll_seconds",
    "follow.idle_seconds",
    "follow.tail_seconds",
    "follow.heads",
)
