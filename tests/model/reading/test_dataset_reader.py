"""The reader: every row once an epoch, an order of (seed, epoch) alone, going on anywhere, on any number of workers."""

import dataclasses
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_families as families
import tensorflow as tf
from long_variants import FULL

from clozekit.model.masking.mask_rates import MaskRates
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.reading.dataset_reader import check_shards, shuffled_blocks, training_batches, validation_batches
from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.model.reading.row_order import interleave_position
from clozekit.model.reading.row_records import derive, parse_rows, record_format
from clozekit.model.reading.shard_files import damage_named
from clozekit.model.tasks import raw_data
from clozekit.pipelines.dataset.manifest import Manifest, ShardInfo, SplitInfo
from clozekit.tokenizers.common.errors import InputError

SMALL = ReaderSettings(open_shards=2, shuffle_block_rows=16)


def masking(manifest: Manifest) -> MaskingRule:
    special = manifest.tokenizer.special_token_ids
    return MaskingRule(special["mask_token"], manifest.tokenizer.vocabulary_size, tuple(set(special.values())))


def row_ids(dataset: tuple[str, Manifest], seed: int, start_row: int, count: int) -> list[tuple[int, int]]:
    """(epoch, row id) of the next rows."""
    directory, manifest = dataset
    blocks = shuffled_blocks(directory, manifest.splits["train"], seed, start_row, SMALL)
    rows = blocks.unbatch().take(count)
    return [(int(epoch), row_id(record)) for record, epoch in rows]


def row_id(record: tf.Tensor) -> int:
    return int(tf.train.Example.FromString(record.numpy()).features.feature["row_id"].int64_list.value[0])


def test_every_row_comes_once_an_epoch_in_another_order(dataset: tuple[str, Manifest]) -> None:
    rows = dataset[1].splits["train"].rows
    seen = row_ids(dataset, 0, 0, 2 * rows)
    first, second = seen[:rows], seen[rows:]
    assert sorted(first) == [(0, row) for row in range(rows)]
    assert sorted(second) == [(1, row) for row in range(rows)]
    assert [row for _, row in first] != [row for _, row in second]
    assert [row for _, row in first] != list(range(rows))
    assert row_ids(dataset, 1, 0, rows) != first


@pytest.fixture(scope="module")
def first_rows(dataset: tuple[str, Manifest]) -> list[tuple[int, int]]:
    """Those of more than three epochs."""
    return row_ids(dataset, 0, 0, 3 * dataset[1].splits["train"].rows + 33 + 40)


@pytest.mark.parametrize("skip", ["0", "1", "15", "16", "17", "rows - 1", "rows", "rows + 20", "3 * rows + 33"])
def test_going_on_anywhere_gives_the_rows_that_would_have_come(
    dataset: tuple[str, Manifest], first_rows: list[tuple[int, int]], skip: str
) -> None:
    rows = dataset[1].splits["train"].rows
    start = eval(skip, {"rows": rows})
    assert row_ids(dataset, 0, start, 40) == first_rows[start : start + 40]


def rows_by_hand(num_rows: list[int], open_shards: int) -> list[tuple[int, int]]:
    """(shard, row) in the order of reading `open_shards` of them in turn, one row each, by a slow loop."""
    waiting = list(range(len(num_rows)))
    slots: list[list[int] | None] = [None] * open_shards
    order: list[tuple[int, int]] = []
    place = 0
    while waiting or any(slot is not None for slot in slots):
        slot = slots[place]
        if slot is None and waiting:
            slots[place] = [waiting.pop(0), 0]
            continue
        if slot is not None and slot[1] < num_rows[slot[0]]:
            order.append((slot[0], slot[1]))
            slot[1] += 1
        else:
            slots[place] = None
        place = (place + 1) % open_shards
    return order


@pytest.mark.parametrize("open_shards", [1, 2, 3, 8])
@pytest.mark.parametrize("num_rows", [[5], [3, 3, 3, 3], [4, 1, 7, 2, 2, 9], [1, 1, 1, 6, 1], [2, 0, 3]])
def test_reading_goes_on_in_the_middle_of_open_shards(num_rows: list[int], open_shards: int) -> None:
    whole = rows_by_hand(num_rows, open_shards)
    counts = tf.constant(num_rows, tf.int64)
    end = tf.constant(-1, tf.int64)
    lefts = [interleave_position(num_rows, open_shards, read) for read in range(len(whole) + 1)]
    # Of each beginning the open shards, filled up: all of them are traced once.
    filled = np.zeros((len(lefts), len(num_rows), 2), np.int64)
    for left, parts in zip(lefts, filled, strict=True):
        parts[: len(left)] = np.reshape(left, (len(left), 2))

    def rest_of(part: tf.Tensor) -> tf.data.Dataset:
        shard, done = tf.unstack(part)
        return tf.data.Dataset.range(done, tf.gather(counts, shard)).map(lambda row: (shard, row))

    def rest(parts: tf.Tensor, used: tf.Tensor) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_tensor_slices(parts[:used]).interleave(
            rest_of, cycle_length=open_shards, block_length=1, num_parallel_calls=None
        )
        # Where nothing is left there is still one batch.
        return rows.concatenate(tf.data.Dataset.from_tensors((end, end))).batch(len(whole) + 1)

    rests = tf.data.Dataset.from_tensor_slices((filled, [len(left) for left in lefts])).flat_map(rest)
    found = [list(zip(shards.tolist(), rows.tolist(), strict=True)) for shards, rows in rests.as_numpy_iterator()]
    assert found == [[*whole[read:], (-1, -1)] for read in range(len(whole) + 1)]


def test_pinned_order(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    # A change of these numbers changes the rows of every run that is resumed with a newer Clozekit. From
    # `pytest tests/model/reading/test_dataset_reader.py -k pinned` when the order was fixed.
    manifest = plain_dataset(tmp_path, dataset[1], [[4] * 10, [4] * 10, [4] * 10])
    rows = [row for _, row in row_ids((str(tmp_path), manifest), 7, 0, 38)]
    assert rows[:8] == [4, 6, 7, 10, 13, 1, 3, 17]
    assert rows[30:] == [4, 1, 6, 7, 21, 27, 0, 25]


def concatenated(workers: list[list[dict[str, tf.Tensor]]]) -> list[dict[str, np.ndarray]]:
    """The global batches that several workers saw."""
    return [
        {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}
        for parts in zip(*workers, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("bins", [(), (8, 16)] if FULL else [(8, 16)])
def test_any_number_of_workers_sees_the_same_global_batches(
    dataset: tuple[str, Manifest], bins: tuple[int, ...]
) -> None:
    directory, manifest = dataset
    options = dataclasses.replace(SMALL, length_bins=bins)

    def seen(num_workers: int, start_row: int, count: int) -> list[dict[str, np.ndarray]]:
        return concatenated(
            [
                list(
                    training_batches(
                        directory,
                        manifest,
                        masking(manifest),
                        8,
                        seed=3,
                        start_row=start_row,
                        worker_index=index,
                        num_workers=num_workers,
                        options=options,
                    ).take(count)
                )
                for index in range(num_workers)
            ]
        )

    rows = manifest.splits["train"].rows
    alone = seen(1, 0, rows // 8 + 4)
    for num_workers in (2, 4) if FULL else (4,):
        # Another number of workers, going on in the middle.
        others = seen(num_workers, 5 * 8, rows // 8 - 1)
        for a, b in zip(alone[5:], others, strict=True):
            assert all((a[name] == b[name]).all() for name in a)


def test_the_rate_of_masks_goes_by_the_step_wherever_reading_begins_and_whoever_reads(
    dataset: tuple[str, Manifest],
) -> None:
    directory, manifest = dataset
    rates = MaskRates(0.3, 0.05, 6)
    rule = dataclasses.replace(masking(manifest), mask_selection_rate=rates.highest)

    def batches(count: int, step: int = 0, worker: int = 0, workers: int = 1) -> list[dict[str, np.ndarray]]:
        read = training_batches(directory, manifest, rule, 8, 0, 8 * step, worker, workers, SMALL, rates, step)
        return list(read.take(count).as_numpy_iterator())

    whole = batches(6)
    masked = [batch["mask_weights"].sum() / batch["padding_mask"].sum() for batch in whole]
    assert masked == sorted(masked, reverse=True)
    assert masked[0] > 3 * masked[-1]
    for resumed, expected in zip(batches(3, 3), whole[3:], strict=True):
        assert all((resumed[name] == expected[name]).all() for name in expected)
    shared = [batches(1, 4, worker, 2)[0] for worker in range(2)]
    assert all((np.concatenate([part[name] for part in shared]) == whole[4][name]).all() for name in whole[4])


def test_workers_must_divide_the_batch(dataset: tuple[str, Manifest]) -> None:
    with pytest.raises(InputError, match="multiple of the workers, got 8 rows for 3 workers"):
        training_batches(dataset[0], dataset[1], masking(dataset[1]), 8, 0, num_workers=3)


def example(token_ids: list[int], row: int, segment: int | None = None) -> bytes:
    features = {"document_lengths": [len(token_ids)], "row_id": [row], "token_ids": token_ids}
    if segment is not None:
        features["segment_lengths"] = [segment]
        features["pair_labels"] = [-1 if segment == len(token_ids) else 1]
    lists = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=value)) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()


def plain_dataset(directory: Path, manifest: Manifest, lengths: list[list[int]]) -> Manifest:
    """A dataset of one document a row, a shard for each list of lengths."""
    shards = []
    row = 0
    for index, shard_lengths in enumerate(lengths):
        name = f"train-{index}.tfrecord"
        with tf.io.TFRecordWriter(f"{directory}/{name}") as writer:
            for length in shard_lengths:
                writer.write(example([5 + (row + i) % 30 for i in range(length)], row))
                row += 1
        size = tf.io.gfile.stat(f"{directory}/{name}").length
        first = row - len(shard_lengths)
        shards.append(ShardInfo(name, len(shard_lengths), sum(shard_lengths), len(shard_lengths), size, "", first))
    split = SplitInfo(tuple(shards), (), 1)
    return dataclasses.replace(manifest, splits={"train": split, "validation": split})


def test_rows_of_every_length_are_read(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    manifest = plain_dataset(tmp_path, dataset[1], [[3, 32, 7], [1, 12]])
    batches = list(validation_batches(str(tmp_path), manifest, masking(manifest), 5))
    shown = batches[0]["token_ids"].numpy()
    np.put_along_axis(shown, batches[0]["mask_positions"].numpy(), batches[0]["mask_ids"].numpy(), axis=1)
    for row, length in enumerate([3, 32, 7, 1, 12]):
        # Position 0 of a row with unused slots was overwritten by them.
        assert shown[row, 1:length].tolist() == [5 + (row + i) % 30 for i in range(1, length)]
        assert (shown[row, length:] == 0).all()


def test_pairs_have_segments() -> None:
    records = [example([9] * 6, 0, segment=4), example([9] * 3, 1, segment=3)]
    form = record_format(records[0], 8, 0)
    assert form.has_segments
    rows = parse_rows(tf.constant(records), form)
    assert rows["segment_ids"].numpy().tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0] * 8]
    assert rows["pair_labels"].numpy().tolist() == [[1, *[-1] * 7], [-1] * 8]


def test_each_packed_pair_has_its_label_at_its_first_token() -> None:
    firsts, labels = tf.constant([1, 2, 6], tf.int64), tf.constant([1, 0, -1], tf.int64)
    derived = derive(tf.ragged.constant([[2, 3], [6], []], dtype=tf.int64), 6, firsts, labels)
    assert derived["pair_labels"].numpy().tolist() == [[1, -1, 0, -1, -1, -1], [-1] * 6, [-1] * 6]


@pytest.mark.slow
def test_length_bins_lose_no_row_and_pad_little(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    dice = random.Random(0)
    lengths = [[dice.randint(1, 32) for _ in range(100)] for _ in range(3)]
    manifest = plain_dataset(tmp_path, dataset[1], lengths)
    options = ReaderSettings(open_shards=2, shuffle_block_rows=128, length_bins=(8, 16, 24))
    options_of_mask = dataclasses.replace(masking(manifest), mask_selection_rate=0.0)
    batches = list(
        training_batches(str(tmp_path), manifest, options_of_mask, 16, seed=0, options=options).take(300 // 16 * 4)
    )
    bins = [8, 16, 24, 32]
    used, padded, seen = 0, 0, []
    for batch in batches:
        (number,) = set(batch["length_bin"].numpy().tolist())
        longest = batch["padding_mask"].numpy().sum(axis=1).max()
        assert bins[number] == min(length for length in bins if length >= longest)
        used += batch["padding_mask"].numpy().sum()
        padded += bins[number] * 16
        seen += batch["padding_mask"].numpy().sum(axis=1).tolist()
    # Four epochs less what stands in the batch that was not read.
    assert len(seen) == 300 // 16 * 4 * 16
    every = sorted(length for shard in lengths for length in shard)
    first_epoch = sorted(seen[:288])
    assert all(first_epoch.count(length) <= every.count(length) for length in set(every))
    # Without bins half of the positions are padding.
    assert used / padded > 0.7
    # Long and short batches come mixed.
    order = [int(batch["length_bin"][0]) for batch in batches]
    assert order != sorted(order)


@pytest.mark.slow
def test_rows_come_from_any_of_tensorflows_file_systems(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    # Stands for gs://, which is read through the same calls.
    for path in Path(dataset[0]).glob("*.tfrecord"):
        tf.io.gfile.copy(str(path), f"ram://data/{path.name}", overwrite=True)
    local, remote = (
        training_batches(directory, dataset[1], masking(dataset[1]), 8, 0, 40, options=SMALL).take(5)
        for directory in (dataset[0], "ram://data")
    )
    for a, b in zip(local, remote, strict=True):
        assert all((a[name].numpy() == b[name].numpy()).all() for name in a)


@pytest.mark.slow
def test_batches_have_static_shapes_and_go_on(dataset: tuple[str, Manifest]) -> None:
    directory, manifest = dataset
    batches = training_batches(directory, manifest, masking(manifest), 8, seed=0)
    assert {name: tuple(spec.shape) for name, spec in batches.element_spec.items()} == {
        **dict.fromkeys(("token_ids", "document_ids", "positions", "padding_mask"), (8, 32)),
        **dict.fromkeys(("mask_positions", "mask_ids", "mask_weights"), (8, 5)),
        "mask_overflow": (8,),
    }
    whole = list(batches.take(12))
    rest = list(training_batches(directory, manifest, masking(manifest), 8, seed=0, start_row=8 * 7).take(5))
    for a, b in zip(whole[7:], rest, strict=True):
        assert all((a[name].numpy() == b[name].numpy()).all() for name in a)


@pytest.mark.slow
def test_validation_masks_never_change_and_filled_rows_weigh_nothing(dataset: tuple[str, Manifest]) -> None:
    directory, manifest = dataset
    rows = manifest.splits["validation"].rows
    batch_size = rows - 1
    first, second = (list(validation_batches(directory, manifest, masking(manifest), batch_size)) for _ in range(2))
    assert len(first) == 2
    for a, b in zip(first, second, strict=True):
        assert all((a[name].numpy() == b[name].numpy()).all() for name in a)
        assert a["token_ids"].shape == (batch_size, 32)
    assert (first[1]["mask_weights"].numpy()[1:] == 0).all()
    assert first[1]["mask_weights"].numpy()[0].sum() > 0
    options = masking(manifest).for_validation(0.15)
    assert options == dataclasses.replace(masking(manifest), seed=99).for_validation(0.15)
    # Another batch size masks the same rows alike.
    halves = list(validation_batches(directory, manifest, masking(manifest), 1))
    together = np.concatenate([batch["token_ids"].numpy() for batch in first])[:rows]
    assert (np.concatenate([batch["token_ids"].numpy() for batch in halves]) == together).all()


@pytest.mark.slow
def test_reading_ends_without_waiting_for_the_next_tuning(dataset: tuple[str, Manifest]) -> None:
    """The wait comes by chance and lasts up to a minute: what it comes from is off."""
    directory, manifest = dataset
    train = training_batches(directory, manifest, masking(manifest), 8, seed=0)
    validation = validation_batches(directory, manifest, masking(manifest), 8)
    texts = raw_data.dataset(families.masked_lm_preprocessor("bert"), families.TEXTS, None, None, 2)
    assert [batches.options().autotune.enabled for batches in (train, validation, texts)] == [False] * 3


@pytest.mark.parametrize(
    ("damage", "message"), [("remove", "is missing"), ("cut", r"is damaged \(found"), ("flip", r"is damaged \(found")]
)
def test_a_missing_or_damaged_shard_is_named(
    dataset: tuple[str, Manifest], tmp_path: Path, damage: str, message: str
) -> None:
    directory = shutil.copytree(dataset[0], tmp_path / "copy")
    shard = directory / dataset[1].splits["train"].shards[1].name
    content = shard.read_bytes()
    if damage == "remove":
        shard.unlink()
    else:
        shard.write_bytes(content[:-1] if damage == "cut" else content[:99] + bytes([content[99] ^ 1]) + content[100:])
    with pytest.raises(InputError, match=message) as caught:
        check_shards(str(directory), dataset[1], read_all=True)
    assert shard.name in str(caught.value)


def damaged_copy(dataset: tuple[str, Manifest], tmp_path: Path, damage: str) -> tuple[str, ShardInfo]:
    """The dataset with the second of its train shards missing, cut at its end, or with a bit turned after 10 rows."""
    directory = shutil.copytree(dataset[0], tmp_path / "copy")
    shard = dataset[1].splits["train"].shards[1]
    path = directory / shard.name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        place = len(tf.data.TFRecordDataset(str(path)).take(10).reduce(b"", lambda a, b: a + b).numpy()) + 10 * 16 + 50
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    return str(directory), shard


def batches_of(directory: str, manifest: Manifest, start: int, options: ReaderSettings) -> list[dict[str, np.ndarray]]:
    """The batches from row `start` to the end of the first epoch."""
    batches = training_batches(directory, manifest, masking(manifest), 8, 0, start, options=options)
    return list(batches.take((manifest.splits["train"].rows - start) // 8).as_numpy_iterator())


@pytest.fixture(scope="module")
def whole_epoch(dataset: tuple[str, Manifest]) -> list[dict[str, np.ndarray]]:
    return batches_of(*dataset, 0, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "num_lost"), [("remove", "all"), ("cut", "one"), ("flip", "all but 10")])
def test_what_can_not_be_read_is_left_empty_when_the_configuration_says_so(
    dataset: tuple[str, Manifest],
    whole_epoch: list[dict[str, np.ndarray]],
    tmp_path: Path,
    damage: str,
    num_lost: str,
) -> None:
    directory, shard = damaged_copy(dataset, tmp_path, damage)
    manifest = dataset[1]
    options = dataclasses.replace(SMALL, on_damage="skip")
    rows = manifest.splits["train"].rows
    damaged = batches_of(directory, manifest, 0, options)
    lost = 0
    for a, b in zip(damaged, whole_epoch, strict=True):
        blank = a["padding_mask"][:, 0] == 0
        lost += blank.sum()
        # Every other row is what and where it was.
        assert all((a[name][~blank] == b[name][~blank]).all() for name in a)
        assert (a["mask_weights"][blank] == 0).all()
    in_last_batch = rows % 8
    expected = {"all": shard.rows, "one": 1, "all but 10": shard.rows - 10}[num_lost]
    assert expected - in_last_batch <= lost <= expected
    if FULL or damage == "flip":
        for a, b in zip(batches_of(directory, manifest, 80, options), damaged[10:], strict=True):
            assert all((a[name] == b[name]).all() for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["remove", "flip", "fewer"])
def test_damage_in_the_middle_of_reading_is_named(dataset: tuple[str, Manifest], tmp_path: Path, damage: str) -> None:
    directory, shard = damaged_copy(dataset, tmp_path, "cut" if damage == "fewer" else damage)
    if damage == "fewer":
        # A whole TFRecord file, but without its last row.
        records = list(tf.data.TFRecordDataset(str(Path(dataset[0]) / shard.name)))
        with tf.io.TFRecordWriter(f"{directory}/{shard.name}") as writer:
            for record in records[:-1]:
                writer.write(record.numpy())
    with (
        pytest.raises(InputError, match="set reader.on_damage=skip|is missing") as caught,
        damage_named(*dataset_at(directory, dataset)),
    ):
        for _ in training_batches(directory, dataset[1], masking(dataset[1]), 8, 0, options=SMALL).take(99):
            pass
    assert shard.name in str(caught.value)


def dataset_at(directory: str, dataset: tuple[str, Manifest]) -> tuple[str, Manifest]:
    return directory, dataset[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"open_shards": 0}, "reader.open_shards must be at least 1, got 0"),
        ({"length_bins": (64, 32)}, r"reader.length_bins must be rising .* got \[64, 32\]"),
        ({"on_damage": "ignore"}, "reader.on_damage must be one of stop, skip, got 'ignore'"),
    ],
)
def test_options_are_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReaderSettings(**fields)  # type: ignore[arg-type]
