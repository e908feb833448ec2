"""Dead letters: records that raise are kept aside with their reason; too many of them fail the build."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from clozekit.tokenizers.common.errors import InputError

DEAD_LETTERS = "dead_letters"


class DeadLetter(NamedTuple):
    """A record that raised: its file, where in it (bytes, or rows of a table; -1: not known), the same in words, the
    stage that it stopped, why, and the traceback."""

    input: str
    offset: int
    position: str
    stage: str
    reason: str
    traceback: str

    def to_line(self) -> bytes:
        return json.dumps(self._asdict(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def dead_letter(stage: str, path: str, offset: int, position: str, error: Exception) -> DeadLetter:
    reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    text = "".join(traceback.format_exception(error))
    return DeadLetter(path, offset, position, stage, reason, text)


def check_bad_rate(counts: Mapping[str, int], examples: Sequence[DeadLetter], max_bad_rate: float) -> None:
    """Raises InputError with the first dead letter when more than `max_bad_rate` of all records are dead letters."""
    bad, total = counts.get("dead_lettered", 0), counts.get("documents_in", 0)
    if bad <= max_bad_rate * total:
        return
    first = min(examples)
    raise InputError(
        f"at most {max_bad_rate:.4g} of all records may be bad (--max-bad-rate), {bad} of {total} are; the first:"
        f" {first.input}, {first.position}: {first.reason}"
    )


def batch_or_rows(
    work: Callable[[pa.RecordBatch], pa.RecordBatch],
    documents: pa.RecordBatch,
) -> tuple[pa.RecordBatch, list[tuple[int, Exception]]]:
    """`work` on the whole batch; when that raises, on each document alone: what came through, and (row, error) of those
    that raise. `work` must treat each row for itself.

    What the system refuses (a full disk, a lost file) is no fault of a document: an OSError goes on."""
    try:
        return work(documents), []
    except OSError:
        raise
    except Exception:
        done, failed = [], []
        for row in range(documents.num_rows):
            try:
                done.append(work(documents.slice(row, 1)))
            except OSError:
                raise
            except Exception as error:
                failed.append((row, error))
        if not done:
            # The schema of no rows: what `work` gives for none.
            return work(documents.slice(0, 0)), failed
        return pa.Table.from_batches(done).combine_chunks().to_batches()[0], failed
