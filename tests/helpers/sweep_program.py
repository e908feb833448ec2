"""A stand-in for the commands of a sweep: a training whose loss follows from its settings, which stops and goes on as real ones do.

CLOZEKIT_TEST_ORDERS names a JSON file: {"holds": {learning rate: step at which it waits for a signal}, "fails": [learning rates],
"releases": a file whose being there ends all waiting}; each start and end is added to the file CLOZEKIT_TEST_JOURNAL.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from leader_pipe import note, when_leader_ends

STEPS, EVERY = 100, 10
stopped = threading.Event()


def made(place: str) -> None:
    Path(place).mkdir(parents=True, exist_ok=True)
    Path(place, "content.txt").write_text(place)


def loss_at(step: int, settings: dict[str, Any]) -> float:
    """Falls with the steps, and is higher by the learning rate and a little by the seed."""
    return 10 - step / 20 + 100 * float(settings["optimizer"]["learning_rate"]) + settings.get("seed", 0) / 100


def train(settings: dict[str, Any], orders: dict[str, Any]) -> None:
    run, rate = Path(settings["directory"]), str(float(settings["optimizer"]["learning_rate"]))
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    log = run / "metrics.jsonl"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    note("begun", rate, settings.get("seed", 0), "from", before * EVERY)
    if float(rate) in orders.get("fails", ()):
        print("clozekit train: the loss is no number", flush=True)
        sys.exit(2)
    with log.open("a") as stream:
        for step in range((before + 1) * EVERY, STEPS + 1, EVERY):
            if stopped.is_set():
                note("stopped", rate, settings.get("seed", 0), "at", step - EVERY)
                sys.exit(75)
            stream.write(json.dumps({"kind": "validation", "step": step, "loss": loss_at(step, settings)}) + "\n")
            stream.flush()
            print(f"step {step}", flush=True)
            while step == orders.get("holds", {}).get(rate) and not stopped.is_set():
                if Path(orders.get("releases", "/none")).exists():
                    break
                time.sleep(0.01)
    made(str(run / "preset"))
    note("ended", rate, settings.get("seed", 0))


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    when_leader_ends(stopped.set)
    files = [yaml.safe_load(Path(word).read_text()) for word in words if word.endswith("settings.yaml")]
    options = {word[2:].partition("=")[0]: word.partition("=")[2] for word in words if word.startswith("--")}
    if verb == "train":
        train(files[0], json.loads(Path(os.environ["CLOZEKIT_TEST_ORDERS"]).read_text()))
    else:
        note("begun", verb)
        if verb == "prepare":
            made(files[0]["output"])
        elif verb == "evaluate":
            log = Path(words[0]).parent / "metrics.jsonl"
            loss = json.loads(log.read_text().splitlines()[-1])["loss"]
            Path(options["output"]).write_text(json.dumps({"of": {"loss": loss}, "accuracy": 1 / loss}))
        elif verb == "compare":
            Path(options["page"]).write_text(" ".join(word for word in words if not word.startswith("--")))
        else:
            made(words[1])
