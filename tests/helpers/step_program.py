"""A stand-in for the commands of a workflow: writes what follows from its settings; waits, fails or dies where it is told to.

CLOZEKIT_TEST_ORDERS names a JSON file: part of a place -> {"status": ..., "until": a file that it waits for, "saves": one without
which it does not stop, "says": ...}; each
start and end is added to the file CLOZEKIT_TEST_JOURNAL.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml
from leader_pipe import note, when_leader_ends

PLACES = {"prepare": "output", "vocab": "output", "train": "directory", "finetune": "directory", "evaluate": "output"}


def content(path: Path) -> str:
    """The hash of what is at a path, names of folders above it left out."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()


def settings_of(words: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for word in words[1:]:
        if word.endswith(".yaml"):
            found |= yaml.safe_load(Path(word).read_text())
        elif word.startswith("--"):
            name, _, value = word.removeprefix("--").partition("=")
            found[name.replace("-", "_")] = value
        elif words[0] == "evaluate":
            found["preset"] = word
    return found


def stop(number: int, frame: object) -> None:
    while "saves" in order and not Path(order["saves"]).exists():
        time.sleep(0.01)
    note("stopped", name)
    os._exit(75)


if __name__ == "__main__":
    verb, settings = sys.argv[1], settings_of(sys.argv[1:])
    place = Path(str(settings[PLACES[verb]]))
    name = place.parent.name.rpartition("-")[0]
    orders = json.loads(Path(os.environ["CLOZEKIT_TEST_ORDERS"]).read_text())
    order = orders.get(name, {})
    signal.signal(signal.SIGTERM, stop)
    when_leader_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    note("begun", name, os.environ.get("CLOZEKIT_STEP_CORES", ""))
    print(f"{verb} works", flush=True)
    while "until" in order and not Path(order["until"]).exists():
        time.sleep(0.01)
    if "once" in order and not Path(order["once"]).exists():
        Path(order["once"]).touch()
        sys.exit(order["status"])
    if order.get("status") and "once" not in order:
        print(f"clozekit {verb}: {order['says']}", flush=True)
        sys.exit(order["status"])
    # What it reads counts by content, wherever that is.
    told = {
        key: content(Path(value)) if isinstance(value, str) and os.path.exists(value) else value
        for key, value in settings.items()
        if key != PLACES[verb]
    }
    text = json.dumps(told, sort_keys=True)
    if order.get("writes", True):
        for path in [place / "preset" / "model.txt"] if PLACES[verb] == "directory" else [place]:
            target = path if verb == "evaluate" or path.suffix else path / "content.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    note("ended", name)
