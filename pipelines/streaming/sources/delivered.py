"""What a source of a stream gives: documents and dead letters, each with its origin and event time."""

from typing import NamedTuple

from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.running.documents import Document


class Delivered(NamedTuple):
    """One record that a source gave: where it came from, its event time in milliseconds since 1970, and what it is."""

    origin: str
    event_time: int
    record: Document | DeadLetter
