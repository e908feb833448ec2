"""Following a stream: each new row once, old ones beside them, the same course however often the run is stopped."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grammar import sentences
from long_variants import FULL
from streams import begin, document, pane

from clozekit.deploy.check_lineage import check_lineage
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.reading.dataset_reader import mixed_batches
from clozekit.model.training.controller import Run
from clozekit.model.training.following.followed_stream import FollowedStream
from clozekit.model.training.reports.pretraining_report import write_run_report
from clozekit.model.training.run_directory.checkpoints import Position
from clozekit.model.training.run_directory.run_log import MEASURED, NoLog
from clozekit.model.training.settings.follow_settings import FollowSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.watching.callbacks import Callback
from clozekit.pipelines.dataset.chain import fragment_name, read_chain
from clozekit.pipelines.settings.compact_settings import PruneSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.compact_windows import compact_windows
from clozekit.pipelines.streaming.prune_windows import prune_windows
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

BATCH = 8
CONFIG = """\
dataset: {stream}
directory: {directory}
model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32, dropout: 0.1}}
follow: {{replay: 0.25, warmup_steps: 4, rewarm_steps: 3, idle_seconds: 0, window_rows: 16}}
train: {{steps: 400, global_batch_size: 8, xla: false, steps_per_loop: 5}}
optimizer: {{learning_rate: 0.01, schedule: constant, final_rate: 0.5}}
evaluate: {{every_steps: 10}}
checkpoint: {{every_steps: 7}}
"""


def add_windows(directory: Path, tokenizer: BertTokenizer, windows: range) -> None:
    stream = begin(directory, tokenizer)
    stream.read_on()
    for window in windows:
        numbers = range(1000 * window, 1000 * window + 60)
        documents = [document(number, " ".join(sentences(number, 4))) for number in numbers]
        Committer(stream).commit(freeze(stream, pane(tokenizer, documents, window)).name)


@pytest.fixture(scope="module")
def stream(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("followed") / "stream"
    add_windows(directory, tokenizer, range(3))
    return directory


def run_of(stream: Path, directory: Path, *changes: str, callbacks: tuple[Callback, ...] = ()) -> Run:
    path = directory.with_suffix(".yaml")
    path.write_text(CONFIG.format(stream=stream, directory=directory))
    return Run(load_config(path, list(changes)), callbacks=callbacks)


def entries(directory: Path, *kinds: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines if line["kind"] in kinds]


@pytest.fixture(scope="module")
def undisturbed(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through the three heads, one after the other."""
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    run_of(stream, directory, "follow.heads=[0, 1, 2]").train()
    return directory


def rows_read(followed: FollowedStream, segment_batches: int, row: int, **share: int) -> list[tuple[int, ...]]:
    """The rows of the batches of a segment, each by its ids."""
    masking = MaskingRule(mask_token_id=4, vocabulary_size=200, special_token_ids=(0, 1, 2, 3, 4))
    batches = mixed_batches(followed.directory, followed.sources(0, row), masking, **share)
    found = []
    for batch in batches.take(segment_batches):
        ids = batch["token_ids"].numpy().copy()
        for line in range(len(ids)):
            used = batch["mask_weights"][line].numpy() > 0
            ids[line, batch["mask_positions"][line].numpy()[used]] = batch["mask_ids"][line].numpy()[used]
        found += [tuple(line) for line in ids.tolist()]
    return found


@pytest.mark.slow
def test_every_new_row_is_read_once_and_old_ones_beside_it(stream: Path) -> None:
    followed = FollowedStream(str(stream), FollowSettings(replay=0.25), BATCH)
    first = followed.adopt(0, 0, 0)
    assert (first.old_rows, first.num_batches) == (0, -(-first.num_new_rows // BATCH))
    read = rows_read(followed, first.num_batches, 0)
    assert len(set(read)) == first.num_new_rows
    old = set(read)
    second = followed.adopt(1, first.num_batches, first.num_batches * BATCH)
    assert second.old_rows == 2
    read = rows_read(followed, second.num_batches, second.head.row)
    batches = [read[start : start + BATCH] for start in range(0, len(read), BATCH)]
    assert all(set(batch[-2:]) <= old and not set(batch[:-2]) & old for batch in batches)
    assert len({row for batch in batches for row in batch[:-2]}) == second.num_new_rows
    # From the middle on it is the rest, and two workers have a half each.
    middle = second.head.row + 3 * BATCH
    assert rows_read(followed, 2, middle) == read[3 * BATCH : 5 * BATCH]
    halves = [rows_read(followed, 1, middle, worker_index=index, num_workers=2) for index in range(2)]
    assert [*halves[0], *halves[1]] == batches[3]
    third = followed.adopt(2, 0, 0)
    assert [fragment.number for fragment in third.old] == [0, 1]
    assert FollowedStream(str(stream), FollowSettings(last_windows=1), BATCH)._replayed(third.old, 2) == third.old[1:]


@pytest.mark.slow
def test_no_two_rows_have_the_same_masks_nor_one_row_when_it_comes_again(stream: Path) -> None:
    masking = MaskingRule(mask_token_id=4, vocabulary_size=200, special_token_ids=(0, 1, 2, 3, 4))

    def masks() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        batches = mixed_batches(followed.directory, followed.sources(0, segment.head.row), masking)
        for batch in batches.take(segment.num_batches):
            for line in range(BATCH):
                positions = tuple(batch["mask_positions"][line].numpy().tolist())
                ids = batch["token_ids"][line].numpy().copy()
                used = batch["mask_weights"][line].numpy() > 0
                ids[batch["mask_positions"][line].numpy()[used]] = batch["mask_ids"][line].numpy()[used]
                yield tuple(ids.tolist()), positions

    followed = FollowedStream(str(stream), FollowSettings(replay=0.5), BATCH)
    seen: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    times: dict[tuple[int, ...], int] = {}
    for number in range(3):
        segment = followed.adopt(number, 0, 0)
        for row, positions in masks():
            seen.setdefault(row, set()).add(positions)
            times[row] = times.get(row, 0) + 1
    again = [row for row in seen if times[row] > 1]
    assert len(again) > 20
    # Of 30 positions 9 are chosen; the same ones twice are one in millions. A batch that is filled up has a row's mask twice.
    assert np.mean([len(seen[row]) == times[row] for row in again]) > 0.9
    assert len({next(iter(masks_of)) for masks_of in seen.values()}) > 0.95 * len(seen)


def test_a_run_goes_through_the_heads_and_measures_each_before_it_trains_on_it(undisturbed: Path, stream: Path) -> None:
    windows = entries(undisturbed, "window")
    fragments = list(read_chain(str(stream)))
    assert [entry["fragment"] for entry in windows] == [0, 1, 2]
    assert [entry["new_rows"] for entry in windows] == [fragment.rows("train") for fragment in fragments]
    assert [entry["window_start"] for entry in windows] == [0, 600, 1200]
    assert windows[0]["loss"] > windows[1]["loss"] > windows[2]["loss"]
    steps = [entry["step"] for entry in windows]
    new = [BATCH, BATCH - 2, BATCH - 2]
    expected = np.cumsum(
        [0, *(-(-fragment.rows("train") // size) for fragment, size in zip(fragments, new, strict=True))]
    )
    assert steps == expected[:3].tolist()
    trained = entries(undisturbed, "train")
    assert trained[-1]["step"] == expected[3]
    # Up over four steps, and up again over three from half of the peak at each later head.
    rates = {entry["step"]: entry["learning_rate"] for entry in trained}
    assert rates[5] == pytest.approx(0.01)
    assert min(rates.values()) >= 0.005
    # What it is measured on is of the first head for good.
    assert len({entry["num_predictions"] for entry in entries(undisturbed, "validation")}) == 1
    assert entries(undisturbed, "validation")[-1]["step"] == expected[3]
    assert (undisturbed / "preset" / "config.json").exists()


class StopsAt(Callback):
    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def on_log(self, run: Any, step: int, values: Any) -> None:
        if self.steps and step >= self.steps[0]:
            self.steps.pop(0)
            raise KeyboardInterrupt


def train_until_it_ends(stream: Path, directory: Path, stops: list[int], *changes: str) -> int:
    """Starts a run again and again, which is cut off at each of `stops`; returns how often it was."""
    cuts = 0
    while True:
        try:
            run_of(stream, directory, *changes, callbacks=(StopsAt(stops),)).train()
            return cuts
        except KeyboardInterrupt:
            cuts += 1


def assert_same_course(directory: Path, expected: Path) -> None:
    """Where a run was stopped it was measured once more."""
    for kind in ("window", "train"):
        assert entries(directory, kind) == entries(expected, kind)
    measured = entries(expected, "validation")
    steps = {entry["step"] for entry in measured}
    assert [entry for entry in entries(directory, "validation") if entry["step"] in steps] == measured


def test_a_run_that_was_there_for_each_window_and_cut_off_anywhere_is_the_same_as_one_that_came_late(
    undisturbed: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    """The stream grows while the run waits; the run starts anew for each window, and wherever it was cut off."""
    last = entries(undisturbed, "train")[-1]["step"]
    heads = [entry["step"] for entry in entries(undisturbed, "window")]
    # At a head, where it goes on inside of the segment before it, and right behind one.
    stops = [heads[1], heads[2], heads[2] + 1, last - 3] if FULL else [heads[2], heads[2] + 1]
    expected_cuts, cuts = len(stops), 0
    for window in range(3):
        add_windows(tmp_path / "stream", tokenizer, range(window, window + 1))
        cuts += train_until_it_ends(tmp_path / "stream", tmp_path / "run", stops)
    assert cuts == expected_cuts
    assert_same_course(tmp_path / "run", undisturbed)
    assert lineage_of(tmp_path / "run" / "preset") == lineage_of(undisturbed / "preset")


def test_the_lineage_names_the_fragments_that_were_read(
    undisturbed: Path, stream: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    checked = check_lineage(str(undisturbed / "preset"), [str(undisturbed)], [str(stream)])
    assert checked.problems == () and f"fragment 2 of {stream}" in checked.checked
    (checkpoint,) = checked.lineage.of("checkpoint")
    assert [(head["number"], head["sha256"]) for head in checkpoint.link["heads"]] == [
        (fragment.number, fragment.sha256) for fragment in read_chain(str(stream))
    ]
    # The same windows with other texts, and the same genesis.
    add_windows(tmp_path / "other", tokenizer, range(1))
    add_windows(tmp_path / "other", tokenizer, range(2, 4))
    problems = check_lineage(str(undisturbed / "preset"), [], [str(tmp_path / "other")]).problems
    assert [problem.link for problem in problems] == [f"fragment {number} of {tmp_path / 'other'}" for number in (1, 2)]


def test_rows_that_are_too_few_are_trained_on_when_the_run_has_waited_or_ends(stream: Path, tmp_path: Path) -> None:
    followed = FollowedStream(str(stream), FollowSettings(min_new_rows=100_000), BATCH)
    assert (followed.next_number(), followed.next_number(takes_any=True)) == (None, 2)
    followed.adopt(2, 0, 0)
    assert followed.next_number(takes_any=True) is None
    few = "follow.min_new_rows=100000"
    run_of(stream, tmp_path / "ends", few, "train.steps=4").train()
    assert [entry["fragment"] for entry in entries(tmp_path / "ends", "window")] == [2]
    assert [entry["step"] for entry in entries(tmp_path / "ends", "train")] == [4]
    # One that goes on waiting adopts the same.
    waits = run_of(stream, tmp_path / "waits", few, "follow.idle_seconds=null", "follow.tail_seconds=0")
    position = waits.adopt(Position(), NoLog(), lambda: False)
    assert position is not None and [head.number for head in position.heads] == [2]


@pytest.mark.slow
def test_a_run_that_follows_reads_what_was_compacted_from_its_next_head_on(
    stream: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    """Windows 0 to 2 become fragment 3; runs that have read some of them, all of them and none of them."""
    shutil.copytree(stream, tmp_path / "stream")
    directory, none_of_it = str(tmp_path / "stream"), FollowSettings(heads=(0, 4))
    followed = FollowedStream(directory, FollowSettings(), BATCH)
    followed.adopt(0, 0, 0)
    before = followed.adopt(2, 0, 0)
    compacted = compact_windows(directory)
    assert compacted is not None
    heads = [before.head]
    # It brings no rows that were not read.
    assert FollowedStream(directory, none_of_it, BATCH).adopt(3, 0, 0).new == (compacted,)
    assert followed.next_number() is None
    add_windows(tmp_path / "stream", tokenizer, range(3, 4))
    assert followed.next_number() == 4
    after = followed.adopt(4, 0, 0)
    assert ([one.number for one in after.new], [one.number for one in after.old]) == ([4], [3])
    assert followed.first_view().splits["validation"].rows == before.old[0].rows("validation")
    # A run that has read a part reads the rest from the windows, and what it replays too.
    part = FollowedStream(directory, FollowSettings(), BATCH)
    part.adopt(1, 0, 0)
    second = part.adopt(4, 0, 0)
    assert ([one.number for one in second.new], [one.number for one in second.old]) == ([2, 4], [0, 1])
    fresh = FollowedStream(directory, FollowSettings(), BATCH).adopt(4, 0, 0)
    assert [one.number for one in fresh.new] == [3, 4]
    # Every row once, however it is read.
    read = rows_read(part, second.num_batches, 0)
    assert len(set(read)) >= second.num_new_rows
    last = FollowedStream(directory, FollowSettings(last_windows=1), BATCH)
    last.adopt(2, 0, 0)
    assert [one.number for one in last.adopt(4, 0, 0).old] == [3]
    # What is pruned is missed in one line, by those alone that still read it.
    prune_windows(directory, PruneSettings(retain_days=0))
    assert followed.sources(0, 0)
    with pytest.raises(
        InputError, match=r"at head 4 it reads fragments 0 to 2 of .* pruned since .*; begin another run"
    ):
        part.sources(0, 0)
    resumed = FollowedStream(directory, FollowSettings(), BATCH)
    resumed.restore(heads)
    with pytest.raises(InputError, match="at head 2 it reads fragments 0 to 2"):
        resumed.sources(0, 0)
    # It was through with them: it goes on with the next head.
    assert [one.number for one in resumed.adopt(4, 0, 0).old] == [3]
    assert resumed.sources(0, 0)


def test_a_run_over_compacted_and_pruned_windows_goes_the_same_way_however_it_is_cut_off(
    undisturbed: Path, stream: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    """One has read all windows before they are compacted, and is cut off after they were pruned; one comes late, and goes
    through the same heads."""
    shutil.copytree(stream, tmp_path / "stream")
    shutil.copytree(undisturbed, tmp_path / "cut")
    directory, heads = str(tmp_path / "stream"), "follow.heads=[0, 1, 2, 4]"
    compact_windows(directory)
    add_windows(tmp_path / "stream", tokenizer, range(3, 4))
    run_of(tmp_path / "stream", tmp_path / "late", heads).train()
    prune_windows(directory, PruneSettings(retain_days=0))
    stops = [entries(tmp_path / "late", "window")[-1]["step"] + 1]
    assert train_until_it_ends(tmp_path / "stream", tmp_path / "cut", stops, heads) == 1
    assert_same_course(tmp_path / "cut", tmp_path / "late")
    # A new run begins with what is there.
    new = FollowedStream(directory, FollowSettings(), BATCH)
    assert new.next_number() == 5
    segment = new.adopt(5, 0, 0)
    assert len(set(rows_read(new, segment.num_batches, 0))) == segment.num_new_rows


def test_what_is_left_of_a_segment_goes_by_rows_not_by_steps(stream: Path) -> None:
    """A run that went back to an earlier step reads on where it was, with the heads that it had adopted."""
    followed = FollowedStream(str(stream), FollowSettings(), BATCH)
    assert followed.batches_left(0) == 0
    segment = followed.adopt(0, step=3, row=2 * BATCH)
    assert followed.batches_left(7 * BATCH) == segment.num_batches - 5


def test_another_stream_is_not_gone_on_with(
    stream: Path, undisturbed: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    add_windows(tmp_path / "other", tokenizer, range(1, 4))
    with pytest.raises(InputError, match="goes on only with the stream that it followed, of .* it has read fragment 0"):
        run_of(tmp_path / "other", tmp_path / "run", "follow.heads=[0, 1, 2]").train()
    shutil.copytree(stream, tmp_path / "damaged")
    (tmp_path / "damaged" / fragment_name(1)).unlink()
    with pytest.raises(InputError, match=r"00000001\.json there is none"):
        run_of(tmp_path / "damaged", tmp_path / "fresh", "follow.heads=[0, 2]").train()


@pytest.mark.parametrize(
    "changes, rule",
    [
        (["optimizer.schedule=linear"], "optimizer.schedule must be constant, got 'linear'"),
        (
            ["train.steps=null", "train.tokens=1000"],
            "the most that is trained must be in steps or hours, got 'train.tokens'",
        ),
        (["follow.replay=1"], "follow.replay must be at least 0 and below 1"),
        (["follow.heads=[2, 1]"], "each above the one before"),
        (["follow=null"], "is a stream, which grows; follow it"),
    ],
)
def test_what_has_no_end_is_not_given_one(stream: Path, tmp_path: Path, changes: list[str], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        run_of(stream, tmp_path / "run", *changes)


def test_a_stream_without_validation_rows_and_a_dry_run(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    rows = PrepareSettings(sequence_length=32, validation_rate=0.0)
    opened = begin(tmp_path / "stream", tokenizer, rows=rows)
    with pytest.raises(InputError, match="a dry run needs a batch of rows"):
        run_of(tmp_path / "stream", tmp_path / "run").try_step()
    documents = [document(number, " ".join(sentences(number, 4))) for number in range(20)]
    Committer(opened).commit(freeze(opened, pane(tokenizer, documents, rows=rows)).name)
    assert run_of(tmp_path / "stream", tmp_path / "run").try_step()["token_ids"].shape == (BATCH, 32)
    run = run_of(tmp_path / "stream", tmp_path / "run")
    assert run.train() == {}
    write_run_report(run, {})
    assert "new windows" in (tmp_path / "run" / "report.html").read_text()
    assert len(entries(tmp_path / "run", "window")) == 1
    assert entries(tmp_path / "run", "validation") == []
