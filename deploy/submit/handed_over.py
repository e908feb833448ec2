"""What a runner raises that sends a job and does not wait for it."""

from typing import Any


class HandedOver(Exception):
    """Leaves the `with` of a pipeline, which would wait. result: what the job is known by, or how it would be asked for."""

    def __init__(self, result: Any) -> None:
        super().__init__("the job is handed over")
        self.result = result
