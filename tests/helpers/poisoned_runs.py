"""Runs some of whose rows give no finite gradient, as far as the loop can tell."""

import math
from typing import Any


def poisoned(kind: type, bad_rows: range) -> Any:
    """The kind of run, `Run` or `FinetuneRun`, whose steps that read any of `bad_rows` count as skipped."""

    class PoisonedRun(kind):  # type: ignore[misc]
        def batches_from(self, stage_index: int, row: int, step: int) -> Any:
            self.next_row = row
            return super().batches_from(stage_index, row, step)

        def run_loop(self, batches: Any, first_step: int, num_steps: int, stage: int, *others: Any) -> Any:
            result = super().run_loop(batches, first_step, num_steps, stage, *others)
            rows = range(self.next_row, self.next_row + self.stages[stage].global_batch_size * num_steps)
            self.next_row = rows.stop
            if rows.start < bad_rows.stop and rows.stop > bad_rows.start:
                sums = result.sums._replace(loss=0.0, count=0.0, correct=0.0)
                result = result._replace(sums=sums, skipped=num_steps, gradient_norm=math.inf)
            return result

    return PoisonedRun
