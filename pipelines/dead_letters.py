"""Dead letters: records that can't be read are kept aside with their reason; too many of them fail the build."""

import json
from collections.abc import Iterable, Mapping, Sequence

import apache_beam as beam

from clozekit.pipelines.files import join, write_bytes
from clozekit.pipelines.read import BadRecord
from clozekit.tokenizers.errors import InputError

DEAD_LETTERS_FILE = "deadletter/dead-letters.jsonl"


def check_bad_rate(counts: Mapping[str, int], examples: Sequence[BadRecord], max_bad_rate: float) -> None:
    """Raises InputError with the first bad record when more than `max_bad_rate` of all records are bad."""
    bad, total = counts.get("dead_lettered", 0), counts.get("documents_in", 0)
    if bad <= max_bad_rate * total:
        return
    first = min(examples)
    raise InputError(
        f"at most {max_bad_rate:.4g} of all records may be unreadable (--max-bad-rate), {bad} of {total} are; the first:"
        f" {first.source}, {first.position}: {first.reason}"
    )


class WriteDeadLetters(beam.DoFn):
    """All bad records of a build -> one JSON lines file, sorted."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def process(self, element: tuple[None, Iterable[BadRecord]]) -> Iterable[int]:
        records = sorted(element[1])
        lines = [json.dumps(record._asdict(), ensure_ascii=False) + "\n" for record in records]
        write_bytes(join(self._directory, DEAD_LETTERS_FILE), "".join(lines).encode())
        yield len(records)
