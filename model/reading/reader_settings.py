"""The settings of the reader; all but `on_damage` decide the order of the rows."""

from dataclasses import dataclass

from clozekit.tokenizers.common.errors import InputError

ON_DAMAGE = ("stop", "skip")


@dataclass(frozen=True)
class ReaderSettings:
    """How rows are read and shuffled.

    open_shards: shards read in turn; shuffle_block_rows: rows shuffled together, held in memory as records. length_bins:
    lengths that batches are cut to, for rows that are not packed: each batch holds rows of similar length. on_damage:
    "stop" ends the run with the name of a shard that is not what the manifest says; "skip" leaves its unreadable rows
    empty and counts them. check_shards: compare every byte of the shards with the manifest once before the first step;
    without it only their names and sizes.

    Raises:
        InputError: for a number below 1, bins that do not rise, another `on_damage`.

    Example:

        >>> from clozekit.model.reading.reader_settings import ReaderSettings
        >>> ReaderSettings(length_bins=(64, 128, 256)).bins_for(200)
        (64, 128, 200)
    """

    open_shards: int = 8
    shuffle_block_rows: int = 4096
    length_bins: tuple[int, ...] = ()
    on_damage: str = "stop"
    check_shards: bool = True

    def __post_init__(self) -> None:
        for name in ("open_shards", "shuffle_block_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"reader.{name} must be at least 1, got {getattr(self, name)}")
        bins = self.length_bins
        if any(length < 1 for length in bins) or any(a >= b for a, b in zip(bins, bins[1:], strict=False)):
            raise InputError(f"reader.length_bins must be rising lengths such as [128, 256, 512], got {list(bins)}")
        if self.on_damage not in ON_DAMAGE:
            raise InputError(f"reader.on_damage must be one of {', '.join(ON_DAMAGE)}, got {self.on_damage!r}")

    def bins_for(self, sequence_length: int) -> tuple[int, ...]:
        """The bins of rows of at most `sequence_length`, the last of them exactly that; () when there are none."""
        if not self.length_bins:
            return ()
        return (*(length for length in self.length_bins if length < sequence_length), sequence_length)
