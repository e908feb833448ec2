"""The stages of a run: stretches of steps with one dataset and one size of batch, from its phases and its batch ramp."""

from dataclasses import dataclass

from clozekit.model.training.settings.run_settings import BatchRampSettings, RunSettings
from clozekit.tokenizers.settings.settings_files import check


@dataclass(frozen=True)
class Stage:
    """Steps first_step to end_step - 1. first_row: rows that the stages on other datasets before it read. mask_rate: the highest
    share of tokens that are masked in it; 0 where none are."""

    first_step: int
    end_step: int
    dataset: str
    global_batch_size: int
    micro_batch_size: int | None
    first_row: int
    mask_rate: float = 0.0

    def start_row(self, next_row: int, rows_in_epoch: int) -> int:
        """The row number in this stage's dataset for `next_row`, counted over the whole run.

        A dataset begins with the first row of an epoch; rows that a run left out shift it.
        """
        return next_row + (-self.first_row) % rows_in_epoch

    def micro_batches(self, num_replicas: int) -> int:
        """Micro-batches of one step on one replica. Raises InputError when the batch can't be shared evenly."""
        rows, micro = self.global_batch_size, self.micro_batch_size
        share = rows // num_replicas
        unit = num_replicas * (micro or 1)
        check(
            "train.global_batch_size (and those of its phases and of its ramp) must be a multiple of the replicas times"
            f" train.micro_batch_size, for {num_replicas} replicas and micro-batches of {micro or share} rows a multiple of"
            f" {unit}",
            rows % num_replicas == 0 and (micro is None or share % micro == 0),
            rows,
        )
        return 1 if micro is None else share // micro


def ramp_sizes(ramp: BatchRampSettings, full: int) -> list[tuple[int, int]]:
    """(first step, rows) of each size; the sizes are multiples of the first one, the last is the full batch."""
    check(
        "train.global_batch_size must be a multiple of train.batch_ramp.first_batch_size",
        full % ramp.first_batch_size == 0,
        full,
        ramp.first_batch_size,
    )
    sizes = []
    for number in range(ramp.num_sizes):
        times = 1 + (full // ramp.first_batch_size - 1) * number // ramp.num_sizes
        sizes.append((ramp.steps * number // ramp.num_sizes, times * ramp.first_batch_size))
    return [*sizes, (ramp.steps, full)]


def stages_of(config: RunSettings) -> tuple[Stage, ...]:
    """The stages of a run, one after the other from step 0 to its last one."""
    train = config.train
    phases = [
        (phase.steps, phase.dataset, phase.global_batch_size, phase.micro_batch_size, phase.mask_rate)
        for phase in train.phases
    ] or [(train.last_step, None, None, None, None)]
    stages: list[Stage] = []
    step = row = 0
    for steps, dataset, batch_size, micro, mask_rate in phases:
        end, first_row = step + steps, row
        full = batch_size or train.global_batch_size
        # Where the ramp has ended, its first size says nothing of the batch.
        is_growing = train.batch_ramp is not None and step < train.batch_ramp.steps
        sizes = ramp_sizes(train.batch_ramp, full) if is_growing and train.batch_ramp else [(0, full)]
        while step < end:
            size = [rows for begin, rows in sizes if begin <= step][-1]
            until = min([end, *(begin for begin, _ in sizes if begin > step)])
            place = (dataset or config.dataset, size, micro or train.micro_batch_size, first_row)
            stages.append(Stage(step, until, *place, mask_rate or config.masking.highest_rate))
            row += (until - step) * size
            step = until
    return tuple(stages)


def stage_at(stages: tuple[Stage, ...], step: int) -> int:
    """The index of the stage that does `step`, the last one at the end of the run."""
    return next((index for index, stage in enumerate(stages) if step < stage.end_step), len(stages) - 1)
