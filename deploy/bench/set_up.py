"""How a machine and its set-up stand, as far as that explains a slow part, and the hint for one."""

import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from clozekit.tokenizers.common.cores_here import cores_here

# Below this share of the reference's speed a part is far slower, and a line says what may be the reason.
FAR_SLOWER = 0.5
# Seconds by the clock for a CPU-second of one core; above it other work has the cores.
_BUSY = 1.5
_FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")
_GPUS = Path("/proc/driver/nvidia/gpus")
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class SetUp:
    """cores: those that this process may use, a container's share of them included. keeps_bytecode: whether Python writes
    what it has compiled. is_glibc: whether the C library can be told to keep freed memory. flags: variables that change what
    TensorFlow compiles. has_hidden_gpu: a driver is there, and no GPU was used. folder: the temporary one."""

    cores: float
    keeps_bytecode: bool
    is_glibc: bool
    flags: tuple[str, ...]
    has_hidden_gpu: bool
    folder: str


def look() -> SetUp:
    """What is so here. has_hidden_gpu: of a driver without a device that it is allowed to use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return SetUp(
        min(cores_here(), _quota()),
        not sys.dont_write_bytecode,
        _is_glibc(),
        tuple(f"{name}={os.environ[name]}" for name in _FLAGS if name in os.environ),
        Path("/proc/driver/nvidia/version").exists() and visible in ("", "-1"),
        tempfile.gettempdir(),
    )


def machine_in_words(set_up: SetUp) -> str:
    """Processor, cores, Python."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = f"{set_up.cores:g} core{'' if set_up.cores == 1 else 's'}"
    gpus = len(list(_GPUS.iterdir())) if _GPUS.is_dir() else 0
    found = [names[0] if names else platform.processor() or "unknown processor", cores]
    found += [f"{gpus} NVIDIA GPU{'' if gpus == 1 else 's'}"] if gpus else []
    return f"{', '.join(found)}; Python {platform.python_version()}"


def _quota() -> float:
    try:
        most, period = _CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if most == "max" else int(most) / int(period)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        return False


def hint(part: str, clock_share: float | None, set_up: SetUp) -> str:
    """The likeliest reason why a part is far slower here than on the reference machine, and what to do, in one line."""
    if part == "disk":
        return (
            f"the temporary folder {set_up.folder} is on a slow or remote disk; set TMPDIR to a folder on a local one"
        )
    if part == "start" and not set_up.keeps_bytecode:
        return "Python keeps nothing of what it compiles; unset PYTHONDONTWRITEBYTECODE"
    if part == "step":
        if set_up.has_hidden_gpu:
            return "there is an NVIDIA driver, and CUDA_VISIBLE_DEVICES hides its GPUs; unset it"
        if set_up.flags:
            return f"{', '.join(set_up.flags)} changes what TensorFlow compiles; unset it"
        if set_up.cores < 2:
            return f"a step uses all cores, the reference machine has two, this one gives {set_up.cores:g}"
        if not set_up.is_glibc:
            return (
                "the C library is not glibc, so the memory of a step is given back and taken again; use a glibc system"
            )
    if clock_share is not None and clock_share > _BUSY:
        return f"other work has the cores: {clock_share:.1f} seconds by the clock for a CPU-second; run it when they are free"
    if part == "start":
        return "the packages may be on a slow or remote disk; run it again, then they are in memory"
    return "nothing of the set-up explains it; the cores are slower, or other work shares them (`clozekit doctor` looks at more)"
