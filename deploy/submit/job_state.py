"""How a submitted job stands, in words that all platforms share."""

from dataclasses import dataclass

WAITING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "waiting", "running", "succeeded", "failed", "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)


@dataclass(frozen=True)
class JobState:
    """name: the job's; identifier: the platform's own name for it; phase: one of the words above; detail: the platform's
    own word or message; fingerprint: of the spec and command it was made from, empty when it is not ours; look: an
    address or a command that shows it."""

    name: str
    identifier: str
    phase: str
    detail: str
    fingerprint: str
    look: str

    @property
    def has_ended(self) -> bool:
        return self.phase in ENDED
