"""Two pods on one machine: network namespaces with an address and a list of host names of their own, as Kubernetes gives
them, so that every worker may listen on the same port."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

_ADDRESSES = ("10.254.77.1", "10.254.77.2")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def missing() -> str | None:
    """Why there can be no pods here; None when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not all(map(shutil.which, ("ip", "nsenter", "unshare", "mount"))):
        return "network namespaces need iproute2 and util-linux"
    name = f"clozekit-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        return "this machine gives no network namespaces"
    _run("ip", "netns", "delete", name)
    return None


@contextmanager
def two_pods(names: Sequence[str], folder: Path) -> Iterator[list[list[str]]]:
    """For each of the two host names, the words before a command that run it in the pod of that name."""
    spaces = [f"clozekit-{os.getpid()}-{number}" for number in range(2)]
    cables = [f"cz{os.getpid()}{letter}" for letter in "ab"]
    lines = ["127.0.0.1 localhost", *(f"{ip} {name}" for ip, name in zip(_ADDRESSES, names, strict=True))]
    hosts = folder / "hosts"
    hosts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    enter = 'mount --bind "$0" /etc/hosts && exec "$@"'
    with ExitStack() as stack:
        for space in spaces:
            _run("ip", "netns", "add", space)
            stack.callback(_run, "ip", "netns", "delete", space)
        # The cable goes with the namespaces that hold its ends.
        _run("ip", "link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for space, cable, address in zip(spaces, cables, _ADDRESSES, strict=True):
            _run("ip", "link", "set", cable, "netns", space)
            _run("ip", "-n", space, "address", "add", f"{address}/24", "dev", cable)
            for device in (cable, "lo"):
                _run("ip", "-n", space, "link", "set", device, "up")
        yield [
            ["nsenter", f"--net=/run/netns/{space}", "unshare", "--mount", "sh", "-c", enter, str(hosts)]
            for space in spaces
        ]
