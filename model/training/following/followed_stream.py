"""A stream as a run sees it: heads that it has adopted one after the other, and the rows that each of them adds."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from clozekit.model.reading.dataset_reader import RowSource
from clozekit.model.training.run_directory.checkpoints import Head
from clozekit.model.training.settings.follow_settings import FollowSettings
from clozekit.pipelines.dataset.chain import Fragment, fragments_after, head_number, read_genesis
from clozekit.pipelines.dataset.chain_coverage import check_coverage, pruned_of, standing
from clozekit.pipelines.dataset.chain_view import row_bases, view_of
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError

# Epochs of one segment; masks go by their number.
_EPOCHS_OF_A_SEGMENT = 1_000_000


@dataclass(frozen=True)
class Segment:
    """What a run reads between two heads: each new row once, and old ones beside them.

    head: the one that was adopted. index: which one it is, from 0. new, old: the fragments whose rows came with it, and those of
    rows from before that are replayed, none of the first head; a compacted one in the place of the windows that it covers.
    num_batches: until every new row was there.
    """

    head: Head
    index: int
    new: tuple[Fragment, ...]
    old: tuple[Fragment, ...]
    old_rows: int
    batch_rows: int

    @property
    def num_new_rows(self) -> int:
        return sum(fragment.rows("train") for fragment in self.new)

    @property
    def num_batches(self) -> int:
        return math.ceil(self.num_new_rows / (self.batch_rows - self.old_rows))


class FollowedStream:
    """The chain of a stream in `directory`, read as far as it is needed, and the heads that a run has adopted.

    batch_rows: of a global batch. Raises InputError when there is no stream, or its chain is damaged.
    """

    def __init__(self, directory: str, settings: FollowSettings, batch_rows: int) -> None:
        self.directory = directory
        self.settings = settings
        self.genesis = read_genesis(directory)
        self._batch_rows = batch_rows
        self._fragments: list[Fragment] = []
        self._segments: list[Segment] = []

    @property
    def segment(self) -> Segment | None:
        """The one that is being read; None before the first head."""
        return self._segments[-1] if self._segments else None

    def base(self) -> Manifest:
        """What is known before there are rows: the tokenizer, the longest row."""
        return view_of(self.genesis, [])

    def restore(self, heads: Sequence[Head]) -> None:
        """Takes the heads that a checkpoint says were adopted. Raises InputError when the chain here has others."""
        self._segments = []
        for head in heads:
            self._read_until(head.number)
            if head.number >= len(self._fragments) or self._fragments[head.number].sha256 != head.sha256:
                found = "none" if head.number >= len(self._fragments) else self._fragments[head.number].sha256[:12]
                raise InputError(
                    f"a run goes on only with the stream that it followed, of {self.directory} it has read fragment"
                    f" {head.number} with sha256 {head.sha256[:12]}, the one there has {found}; put that stream back, or begin"
                    " anew in another `directory`"
                )
            self._segments.append(self._segment_of(head))

    def next_number(self, takes_any: bool = False) -> int | None:
        """Number of the head to adopt now; None while too little is new, or nothing if it takes any. The chief asks."""
        after = -1 if self.segment is None else self.segment.head.number
        wanted = [number for number in self.settings.heads if number > after]
        newest = head_number(self.directory)
        if self.settings.heads:
            return wanted[0] if wanted and wanted[0] <= newest else None
        self._read_until(newest)
        new = sum(fragment.rows("train") for fragment in standing(self._fragments, after + 1))
        return newest if new >= (1 if takes_any else self.settings.min_new_rows or self._batch_rows) else None

    def is_through(self) -> bool:
        """Whether all heads that the settings name were adopted."""
        last = -1 if self.segment is None else self.segment.head.number
        return bool(self.settings.heads) and last >= self.settings.heads[-1]

    def adopt(self, number: int, step: int, row: int) -> Segment:
        """Makes fragment `number` the head, from `step` and row `row` of the run on. Raises InputError when it is not there."""
        self._read_until(number)
        if number >= len(self._fragments):
            raise InputError(
                f"every worker must see the stream, the chief has read fragment {number} of {self.directory} and here it ends"
                f" with {len(self._fragments) - 1}; put it on a file system that all workers share"
            )
        segment = self._segment_of(Head(step, row, number, self._fragments[number].sha256))
        if not segment.num_new_rows:
            raise InputError(
                f"a head must bring rows to train on, fragments up to {number} of {self.directory} bring none; name another in"
                " follow.heads"
            )
        self._check_kept(segment)
        self._segments.append(segment)
        return segment

    def batches_left(self, row: int) -> int:
        """Batches until every new row of the head was there, when the run has come to row number `row`; 0 before the first head."""
        segment = self.segment
        if segment is None:
            return 0
        return max(0, segment.num_batches - (row - segment.head.row) // self._batch_rows)

    def rate_share(self, step: int, final_rate: float) -> tuple[float, float] | None:
        """How far the learning rate has risen at a step, and what each step adds; None before the first head.

        final_rate: share of the peak from which it rises again at a later head.
        """
        segment = self.segment
        if segment is None:
            return None
        steps = self.settings.rewarm_steps if segment.index else self.settings.warmup_steps
        if not steps:
            return 1.0, 0.0
        low = final_rate if segment.index else 0.0
        return low + (1.0 - low) * (step - segment.head.step) / steps, (1.0 - low) / steps

    def first_view(self) -> Manifest:
        """The rows of the first head: those of its validation split are what the run is measured on for good."""
        return view_of(self.genesis, self._segments[0].new)

    def window_view(self, segment: Segment) -> Manifest:
        """The new rows of a segment, train and validation, as a validation split: to be measured before they are trained on."""
        view = view_of(self.genesis, segment.new)
        return dataclasses.replace(view, splits={"validation": view.splits["train"]})

    def sources(self, seed: int, row: int) -> list[RowSource]:
        """What global batches consist of, from row number `row` of the run on."""
        segment = self.segment
        if segment is None:
            raise RuntimeError("no head was adopted yet")
        self._check_kept(segment)
        batch = (row - segment.head.row) // self._batch_rows
        parts = [(segment.new, self._batch_rows - segment.old_rows, seed, 0)]
        if segment.old_rows:
            # Another order, and other masks, each time that a row comes.
            parts.append((segment.old, segment.old_rows, seed + 7919 * segment.index, segment.index))
        return [
            RowSource(
                view_of(self.genesis, fragments),
                rows,
                one_seed % 2**32,
                batch * rows,
                index * _EPOCHS_OF_A_SEGMENT,
                row_bases(fragments, "train"),
            )
            for fragments, rows, one_seed, index in parts
        ]

    def _segment_of(self, head: Head) -> Segment:
        begin = 0 if not self._segments else self._segments[-1].head.number + 1
        # Which rows a segment has goes by the fragments up to its head alone, so it is the same whenever it is read again.
        seen = self._fragments[: head.number + 1]
        new = tuple(standing(seen, begin))
        old = self._replayed(seen, begin)
        has_old = any(fragment.rows("train") for fragment in old)
        old_rows = self.settings.old_rows(self._batch_rows) if has_old else 0
        return Segment(head, len(self._segments), new, old if old_rows else (), old_rows, self._batch_rows)

    def _replayed(self, fragments: Sequence[Fragment], end: int) -> tuple[Fragment, ...]:
        """What is replayed of the windows before number `end`: a compacted fragment when one of its windows is."""
        old = standing(fragments, 0, end)
        if self.settings.last_windows is None:
            return tuple(old)
        windows = [fragment for fragment in fragments[:end] if fragment.frozen is not None]
        starts = sorted({window.window_start for window in windows})[-self.settings.last_windows :]
        wanted = {window.number for window in windows if window.window_start in starts}
        return tuple(one for one in old if wanted & set(_numbers(one)))

    def _check_kept(self, segment: Segment) -> None:
        """Raises InputError when rows of a segment were pruned from the stream. Validation rows never are."""
        # It stands behind the head.
        self._read_until(head_number(self.directory))
        gone = pruned_of(self._fragments).shards
        read = (*segment.new, *segment.old)
        lost = sorted(one.number for one in read if one.frozen is not None and one.number < gone)
        if lost:
            raise InputError(
                f"what a run reads must be kept, at head {segment.head.number} it reads fragments {lost[0]} to {lost[-1]} of"
                f" {self.directory}, whose shards were pruned since (`clozekit stream list`); begin another run with"
                f" init_from set to the preset of this one in another `directory`, or put back the stream as it was before"
            )

    def _read_until(self, number: int) -> None:
        """Reads the chain up to a fragment, as far as it is there."""
        if len(self._fragments) <= number:
            last = self._fragments[-1] if self._fragments else None
            self._fragments += fragments_after(self.directory, self.genesis, last, number)
            check_coverage(self._fragments)


def _numbers(fragment: Fragment) -> range:
    """Numbers of the fragments that it stands for."""
    if fragment.covers is None:
        return range(fragment.number, fragment.number + 1)
    return range(fragment.covers.first, fragment.covers.last + 1)
