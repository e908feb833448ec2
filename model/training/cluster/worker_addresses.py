"""What is known of a cluster: the place of this process in it, the addresses of all, what their rules are."""

from dataclasses import dataclass

from clozekit.tokenizers.common.errors import InputError

# TensorFlow's own default for gRPC in examples and on Vertex AI.
DEFAULT_PORT = 2222


@dataclass(frozen=True)
class ClusterSpec:
    """One process in its cluster.

    source: whose variables say so; addresses: host:port of every worker in order, empty for a process alone;
    task_index: which of them this process is; tpu: name of the TPU to use, "local" for this host's.
    """

    source: str = "no cluster"
    addresses: tuple[str, ...] = ()
    task_index: int = 0
    tpu: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.addresses)) != len(self.addresses):
            raise InputError(
                f"every worker must have its own address, {self.source} gives {', '.join(self.addresses)}; correct it or"
                " set cluster.port"
            )
        if not 0 <= self.task_index < self.num_workers:
            raise InputError(
                f"the index of a worker must be below their number, {self.source} says worker {self.task_index} of"
                f" {self.num_workers}; correct the variables it is read from"
            )

    @property
    def num_workers(self) -> int:
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes."""
        return self.task_index == 0

    def __str__(self) -> str:
        return f"{self.source} says worker {self.task_index} of {self.num_workers}"


def whole_number(name: str, text: str, least: int = 0, most: int = 2**63) -> int:
    """The number in the environment variable `name`. Raises InputError when it holds something else."""
    # 20 digits: longer ones are no number of anything, and Python reads none of thousands.
    if not text.strip().isdecimal() or len(text.strip()) > 20 or not least <= int(text) <= most:
        rule = f"of at least {least}" if most == 2**63 else f"from {least} to {most:,}"
        raise InputError(f"{name} must be a whole number {rule}, it is {text!r:.100}; correct it or unset it")
    return int(text)
