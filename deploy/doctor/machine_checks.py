"""What `clozekit doctor` looks at on a machine: Python, packages, TensorFlow, devices, the cluster, disks."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from clozekit.deploy.doctor.findings import NOTE, OK, RED, Finding

CONSTRAINTS_FILE = "constraints.txt"
_PYTHONS = ((3, 11), (3, 13))
# TensorFlow alone takes 2 GB; a checkpoint of a large model, or the blocks of a local build, as much again.
_LEAST_FREE_GB, _GOOD_FREE_GB = 2.0, 10.0


def python() -> Iterable[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    least, most = _PYTHONS
    if least <= sys.version_info[:2] <= most:
        yield Finding("python", OK, f"{found}, {sys.executable}")
    else:
        yield Finding("python", RED, found, "use Python 3.11, 3.12 or 3.13 (make PYTHON=python3.11 setup)")


def packages(constraints: str | None) -> Iterable[Finding]:
    """Installed versions against the pinned ones; constraints: their file, None for the one beside the code."""
    path = Path(__file__).parents[2] / CONSTRAINTS_FILE if constraints is None else Path(constraints)
    if not path.is_file():
        what = f"no {CONSTRAINTS_FILE} beside the code" if constraints is None else f"{path} is not there"
        yield Finding("packages", NOTE, what, "name the file you installed with: --constraints FILE")
        return
    pinned = read_pins(path.read_text(encoding="utf-8"))
    differing, same = [], 0
    for name, wanted in pinned.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            # An extra that is not installed.
            continue
        # An index may add where a package was built for: 2.13.0+cpu.
        if installed.partition("+")[0] == wanted.partition("+")[0]:
            same += 1
        else:
            differing.append(f"{name} {installed} (tested: {wanted})")
    if differing:
        shown = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
        advice = f"run: pip install --constraint {path} --editable '.[dev]', or make setup"
        yield Finding("packages", RED, f"{len(differing)} are not the tested versions: {shown}", advice)
    else:
        yield Finding("packages", OK, f"{same} installed, all at the versions of {path.name}")


def read_pins(text: str) -> dict[str, str]:
    """Package -> version, of the lines that are meant for this Python."""
    pins = {}
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if line:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                pins[requirement.name] = str(requirement.specifier).removeprefix("==")
    return pins


def tensorflow() -> Iterable[Finding]:
    import keras
    import tensorflow as tf

    found = f"{tf.__version__}, Keras {keras.__version__} on {keras.backend.backend()}"
    if keras.backend.backend() == "tensorflow":
        yield Finding("tensorflow", OK, found)
    else:
        yield Finding("tensorflow", NOTE, found, "training needs KERAS_BACKEND=tensorflow")


def devices() -> Iterable[Finding]:
    import tensorflow as tf

    kinds = {kind: tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU")}
    found = [f"{os.cpu_count()} CPUs", *(f"{len(some)} {kind}s" for kind, some in kinds.items() if some)]
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in kinds["GPU"]]
    has_driver = Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/version").exists()
    if has_driver and not kinds["GPU"]:
        yield Finding(
            "devices",
            RED,
            f"{found[0]}; there is an NVIDIA driver, and TensorFlow finds no GPU",
            "install the CUDA libraries (pip install 'tensorflow[and-cuda]'), and unset CUDA_VISIBLE_DEVICES",
        )
    else:
        yield Finding("devices", OK, ", ".join([*found, *names]))


def bfloat16() -> Iterable[Finding]:
    import tensorflow as tf

    ones = tf.ones([64, 64], tf.bfloat16)
    right = bool(tf.reduce_all(tf.matmul(ones, ones) == 64))
    gpus = tf.config.list_physical_devices("GPU")
    old = [gpu for gpu in gpus if tf.config.experimental.get_device_details(gpu)["compute_capability"] < (8, 0)]
    if not right:
        yield Finding("bfloat16", RED, "a product is wrong", "train with train.precision=float32")
    elif old or not gpus:
        where = "GPUs older than compute capability 8.0" if old else "a CPU"
        yield Finding("bfloat16", NOTE, f"right, and slow on {where}", "train with train.precision=float32 here")
    else:
        yield Finding("bfloat16", OK, "right, and in hardware")


def xla() -> Iterable[Finding]:
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def product(matrix: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.matmul(matrix, matrix))

    value = float(product(tf.ones([64, 64])))
    if value == 64.0**3:
        yield Finding("xla", OK, "compiles")
    else:
        yield Finding("xla", RED, f"compiles to {value} in place of {64.0**3}", "train with train.xla=false")


def cluster() -> Iterable[Finding]:
    """The cluster that the environment describes, and whether the names of its workers are known."""
    from clozekit.model.training.cluster.find_cluster import resolve_cluster
    from clozekit.model.training.settings.loop_settings import ClusterSettings

    spec = resolve_cluster(os.environ, ClusterSettings())
    unknown = [address for address in spec.addresses if not _is_known(address)]
    found = str(spec) + (f": {', '.join(spec.addresses)}" if spec.addresses else "")
    if unknown:
        yield Finding(
            "cluster",
            RED,
            f"{found}; unknown: {', '.join(unknown)}",
            "start the other workers, and check the headless service (Kubernetes) or the names of the nodes (Slurm)",
        )
    else:
        yield Finding("cluster", OK, found)


def _is_known(address: str) -> bool:
    try:
        socket.getaddrinfo(address.rpartition(":")[0], None)
    except OSError:
        return False
    return True


def disks(directory: str) -> Iterable[Finding]:
    for place in dict.fromkeys([str(Path(directory).resolve()), tempfile.gettempdir()]):
        free = shutil.disk_usage(place).free / 1e9
        found = f"{free:.1f} GB free at {place}"
        if free >= _GOOD_FREE_GB:
            yield Finding("disk", OK, found)
        else:
            status = NOTE if free >= _LEAST_FREE_GB else RED
            yield Finding(
                "disk", status, found, f"free some, {_GOOD_FREE_GB:g} GB are good to have; TMPDIR moves the second"
            )


def checks_of_machine(directory: str, constraints: str | None) -> list[tuple[str, Any]]:
    return [
        ("python", python),
        ("packages", lambda: packages(constraints)),
        ("tensorflow", tensorflow),
        ("devices", devices),
        ("bfloat16", bfloat16),
        ("xla", xla),
        ("cluster", cluster),
        ("disk", lambda: disks(directory)),
    ]
