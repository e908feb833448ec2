"""Damaged records with right checksums, through the graph that training reads with: refused, or rows like any others."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fuzzing import damaged_bytes, dice_of_cases

from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.reading.dataset_reader import masked_batch
from clozekit.model.reading.row_records import record_format
from clozekit.model.reading.shard_files import damage_named
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError

ROWS = 8


@pytest.fixture(scope="module", params=["documents", "pairs"])
def rows(
    request: pytest.FixtureRequest, corpus: Path, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Manifest, list[bytes]]:
    """(directory, manifest, the first records) of a dataset of each kind of records."""
    directory = str(tmp_path_factory.mktemp("rows"))
    pairs = "next" if request.param == "pairs" else "none"
    options = PrepareSettings(sequence_length=32, num_shards=1, pairs=pairs)
    manifest, _ = prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, directory)
    shard = manifest.splits["train"].shards[0].name
    with open(Path(directory, shard), "rb") as stream:
        records = list(itertools.islice(read_records(stream, shard), ROWS))
    return directory, manifest, records


def test_fuzz_records_in_the_graph(rows: tuple[str, Manifest, list[bytes]]) -> None:
    directory, manifest, records = rows
    special, size = manifest.tokenizer.special_token_ids, manifest.tokenizer.vocabulary_size
    form = record_format(records[0], manifest.sequence_length, special["pad_token"])
    masking = MaskingRule(special["mask_token"], size, tuple(set(special.values())))

    @tf.function(input_signature=[tf.TensorSpec([ROWS], tf.string)], autograph=False)
    def batch_of(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return masked_batch(batch, tf.constant(0, tf.int64), form, masking)

    whole = {name: value.numpy() for name, value in batch_of(tf.constant(records)).items()}
    taken = refused = 0
    for _, dice in dice_of_cases(100):
        place = dice.randrange(ROWS)
        batch = [damaged_bytes(record, dice) if row == place else record for row, record in enumerate(records)]
        try:
            with damage_named(directory, manifest):
                values = {name: value.numpy() for name, value in batch_of(tf.constant(batch)).items()}
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        taken += 1
        others = np.arange(ROWS) != place
        for name, value in values.items():
            assert value.shape == whole[name].shape and value.dtype == whole[name].dtype
            assert (value[others] == whole[name][others]).all(), name
        assert ((values["token_ids"] >= 0) & (values["token_ids"] < size)).all()
        assert ((values["mask_ids"] >= 0) & (values["mask_ids"] < size)).all()
        lengths = values["padding_mask"].sum(axis=1)
        assert ((values["document_ids"] > 0) == (np.arange(32) < lengths[:, None])).all()
        assert ((values["mask_positions"] >= 0) & (values["mask_positions"] < 32)).all()
        assert ((values["positions"] >= 0) & (values["positions"] < 32)).all()
    assert taken and refused
