"""The reader: every row once an epoch, an order of (seed, epoch) alone, going on anywhere, derived tensors."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model import reader
from clozekit.model.masking import MaskingOptions
from clozekit.model.reader import check_shards, derive, parse_rows, shuffled_rows, training_batches, validation_batches
from clozekit.pipelines.manifest import Manifest
from clozekit.tokenizers.errors import InputError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SHUFFLE_BLOCK_ROWS", 16)
    monkeypatch.setattr(reader, "OPEN_SHARDS", 2)


def masking(manifest: Manifest) -> MaskingOptions:
    special = manifest.tokenizer.special_token_ids
    return MaskingOptions(special["mask_token"], manifest.tokenizer.vocabulary_size, tuple(set(special.values())))


def row_ids(dataset: tuple[str, Manifest], seed: int, start_row: int, count: int) -> list[tuple[int, int]]:
    """(epoch, row id) of the next rows."""
    directory, manifest = dataset
    rows = shuffled_rows(directory, manifest.splits["train"], seed, start_row).take(count)
    return [
        (int(epoch), int(parse_rows(record[None], manifest.sequence_length, 0)["row_id"][0])) for record, epoch in rows
    ]


def test_every_row_comes_once_an_epoch_in_another_order(dataset: tuple[str, Manifest]) -> None:
    rows = dataset[1].splits["train"].rows
    seen = row_ids(dataset, 0, 0, 2 * rows)
    first, second = seen[:rows], seen[rows:]
    assert sorted(first) == [(0, row) for row in range(rows)]
    assert sorted(second) == [(1, row) for row in range(rows)]
    assert [row for _, row in first] != [row for _, row in second]
    assert [row for _, row in first] != list(range(rows))
    assert row_ids(dataset, 1, 0, rows) != first


@pytest.mark.parametrize("skip", ["0", "1", "15", "16", "17", "rows - 1", "rows", "rows + 20", "3 * rows + 33"])
def test_going_on_anywhere_gives_the_rows_that_would_have_come(dataset: tuple[str, Manifest], skip: str) -> None:
    rows = dataset[1].splits["train"].rows
    start = eval(skip, {"rows": rows})
    assert row_ids(dataset, 0, start, 40) == row_ids(dataset, 0, 0, start + 40)[start:]


def test_what_is_derived_from_the_lengths() -> None:
    derived = derive(tf.ragged.constant([[2, 3], [6], [1, 1, 1]], dtype=tf.int64), 6)
    assert derived["document_ids"].numpy().tolist() == [[1, 1, 2, 2, 2, 0], [1] * 6, [1, 2, 3, 0, 0, 0]]
    assert derived["positions"].numpy().tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]]
    assert derived["padding_mask"].numpy().tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6, [1, 1, 1, 0, 0, 0]]


def test_batches_have_static_shapes_and_go_on(dataset: tuple[str, Manifest]) -> None:
    directory, manifest = dataset
    batches = training_batches(directory, manifest, masking(manifest), 8, seed=0)
    assert {name: tuple(spec.shape) for name, spec in batches.element_spec.items()} == {
        **dict.fromkeys(("token_ids", "document_ids", "positions", "padding_mask"), (8, 32)),
        **dict.fromkeys(("mask_positions", "mask_ids", "mask_weights"), (8, 5)),
    }
    whole = list(batches.take(12))
    rest = list(training_batches(directory, manifest, masking(manifest), 8, seed=0, start_row=8 * 7).take(5))
    for a, b in zip(whole[7:], rest, strict=True):
        assert all((a[name].numpy() == b[name].numpy()).all() for name in a)


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
