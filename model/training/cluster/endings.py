"""How a run can end before its last step with nothing lost: each kind has its exit status."""


class EarlyEndError(RuntimeError):
    """The same command, run again, goes on. The message is one line."""

    exit_status: int


class StoppedError(EarlyEndError):
    """A signal came; everything is saved. 75 is EX_TEMPFAIL of sysexits.h: try again later."""

    exit_status = 75


class WorkerLostError(EarlyEndError):
    """Another worker is gone; all have to be started again. 76 is EX_PROTOCOL of sysexits.h: the other side failed."""

    exit_status = 76
