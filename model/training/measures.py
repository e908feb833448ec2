"""What the log says of a loop's speed, as plain functions of its counts and seconds."""

import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from clozekit.model.training.settings.loop_settings import LogSettings


@dataclass(frozen=True)
class LoopTimes:
    """Counts and seconds of a loop of steps. places: tokens and padding; wait_seconds: of seconds, for data."""

    num_steps: int
    tokens: int
    places: int
    seconds: float
    wait_seconds: float


def speed(times: LoopTimes, flops_per_token: float, num_devices: int, config: LogSettings) -> dict[str, float]:
    """Measures for the log; MFU (formula in flops.py: FLOPs a token x places a second / (devices x peak)) when the peak
    is known. Padding is computed too, so it counts for MFU and not for tokens_per_second."""
    values = {
        "tokens_per_second": times.tokens / times.seconds,
        "padded_tokens_per_second": times.places / times.seconds,
        "useful_token_share": times.tokens / times.places,
        "step_seconds": times.seconds / times.num_steps,
        "data_wait_share": times.wait_seconds / times.seconds,
    }
    if config.peak_teraflops is not None:
        peak = num_devices * config.peak_teraflops * 1e12
        values["model_flops_utilization"] = flops_per_token * times.places / times.seconds / peak
    return values


def peak_memory_bytes() -> int:
    """The most memory in use so far: of the first GPU, else of this process."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return int(tf.config.experimental.get_memory_info(gpus[0].name)["peak"])
    # `ru_maxrss` begins with the peak of the process that started this one; VmHWM, which not every system has, does not.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
