"""`python dies.py N ARGUMENTS`: the `clozekit` command, which the system takes away before its Nth change of a name on disk."""

import os
import sys
from collections.abc import Callable
from typing import Any

from clozekit.deploy.cli.main import main

KILLED = 137


def dying(function: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os._exit(KILLED)
        return function(*arguments, **named)

    return counted


if __name__ == "__main__":
    left = [int(sys.argv[1])]
    for name in ("replace", "rename", "unlink", "remove", "rmdir", "link", "mkdir"):
        setattr(os, name, dying(getattr(os, name), left))
    sys.exit(main(sys.argv[2:]))
