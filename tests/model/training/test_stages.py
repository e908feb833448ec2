"""Stages: the steps, the rows and the datasets of phases and of a growing batch."""

import pytest

from clozekit.model.training.settings.run_settings import BatchRampSettings, PhaseSettings, RunSettings, TrainSettings
from clozekit.model.training.stages import Stage, ramp_sizes, stage_at, stages_of
from clozekit.tokenizers.common.errors import InputError


def test_a_plain_run_is_one_stage() -> None:
    assert stages_of(RunSettings("data", "run")) == (Stage(0, 1000, "data", 64, None, 0, 0.3),)


def test_a_batch_grows_in_multiples_of_the_first() -> None:
    assert ramp_sizes(BatchRampSettings(8, 100, 4), 64) == [(0, 8), (25, 16), (50, 32), (75, 48), (100, 64)]
    assert ramp_sizes(BatchRampSettings(64, 10, 1), 64) == [(0, 64), (10, 64)]
    with pytest.raises(InputError, match=r"multiple of train.batch_ramp.first_batch_size, got 64 and 10"):
        ramp_sizes(BatchRampSettings(10, 100), 64)


def test_phases_and_the_ramp_cut_one_another() -> None:
    train = TrainSettings(
        steps=30,
        global_batch_size=16,
        micro_batch_size=4,
        batch_ramp=BatchRampSettings(8, 10, 1),
        phases=(PhaseSettings(20, "short"), PhaseSettings(10, None, 8, 2, 0.05)),
    )
    stages = stages_of(RunSettings("long", "run", train=train))
    assert stages == (
        Stage(0, 10, "short", 8, 4, 0, 0.3),
        Stage(10, 20, "short", 16, 4, 0, 0.3),
        Stage(20, 30, "long", 8, 2, 10 * 8 + 10 * 16, 0.05),
    )
    assert [stage_at(stages, step) for step in (0, 9, 10, 20, 29, 30)] == [0, 0, 1, 2, 2, 2]
    assert [stage.micro_batches(2) for stage in stages] == [1, 2, 2]


def test_a_dataset_begins_with_the_first_row_of_an_epoch() -> None:
    stage = Stage(20, 30, "long", 8, None, first_row=240)
    assert stage.start_row(240, 100) == 300
    assert stage.start_row(248, 100) == 308
    # Rows that were left out are left out here too.
    assert stage.start_row(244, 100) == 304
    assert Stage(0, 10, "short", 8, None, 0).start_row(17, 100) == 17


def test_a_batch_that_can_not_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match="for 2 replicas and micro-batches of 3 rows a multiple of 6, got 8"):
        Stage(0, 10, "data", 8, 3, 0).micro_batches(2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"phases": (PhaseSettings(3),), "steps": 9}, "must add up to train.steps, got 3 and 9"),
        ({"phases": (PhaseSettings(3),), "epochs": 2.0}, "the length of the run is in steps too, got 'train.epochs'"),
        ({"steps": 10, "epochs": 3.0}, "a run has one length, .* got 'train.steps=10' and 'train.epochs=3'; leave"),
        ({"tokens": 0}, "train.tokens must be above 0, got 0"),
        ({"hours": 0.0}, "train.hours must be above 0, got 0.0"),
        ({"precision": "float16"}, "must be one of float32, mixed_bfloat16, got 'float16'"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings(**fields)  # type: ignore[arg-type]
