"""Killed, stopped, or left by another worker, a run goes on as if nothing had been."""

import dataclasses
import json
import random
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from long_variants import FULL
from processes import Child, finished, free_ports, log_inode, started, wait_for_step

from clozekit.model import MaskedLM
from clozekit.model.presets.lineage import LINEAGE_FILE
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import MEASURED, METRICS_FILE, read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest

# Dropout on: its random state must come back too.
MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1)
STEPS = 300 if FULL else 60


def config_for(dataset: str, directory: Path, steps: int = STEPS) -> RunSettings:
    return RunSettings(
        dataset,
        str(directory),
        model=MODEL,
        train=TrainSettings(steps=steps, global_batch_size=8, micro_batch_size=4, steps_per_loop=2, xla=False),
        optimizer=OptimizerSettings(learning_rate=0.01),
        checkpoint=CheckpointSettings(every_steps=10),
        evaluate=EvaluateSettings(every_steps=30, max_rows=32),
    )


def command(config: RunSettings) -> list[str]:
    """`clozekit train` with the configuration in a file."""
    path = Path(config.directory).with_suffix(".yaml")
    path.write_text(config.to_yaml(), encoding="utf-8")
    return ["-m", "clozekit.deploy.cli", "train", str(path)]


def curve(directory: Path) -> list[dict[str, object]]:
    """The log without what depends on the clock."""
    entries = read_metrics(directory / METRICS_FILE)
    return [{name: value for name, value in entry.items() if name not in MEASURED} for entry in entries]


def weights(directory: Path) -> list[np.ndarray]:
    return MaskedLM.from_preset(directory / "preset").get_weights()


def assert_same_run(directory: Path, expected: Path) -> None:
    assert curve(directory) == curve(expected)
    assert all((a == b).all() for a, b in zip(weights(directory), weights(expected), strict=True))
    # It names every file of the preset by its hash.
    assert (directory / "preset" / LINEAGE_FILE).read_bytes() == (expected / "preset" / LINEAGE_FILE).read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted") / "run"
    Run(config_for(dataset[0], directory)).train()
    return directory


def test_killed_with_9_again_and_again_it_is_as_if_never_stopped(
    dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    arguments = command(config_for(dataset[0], directory))
    kills = 20 if FULL else 1
    # Nearly to the end, but never behind it: the process runs on while it is being killed.
    for step in sorted(random.Random(0).sample(range(1, STEPS - 40), kills)):
        before = log_inode(directory)
        with started(*arguments) as child:
            wait_for_step(directory, step, child, before)
            child.kill()
        assert not (directory / "preset").exists()
    with started(*arguments) as child:
        finished(child)
    assert_same_run(directory, uninterrupted)


STOPPED = """
import sys
import time
from clozekit.deploy.cli.main import main
from clozekit.model.training.training_loop import TrainingLoop

advance = TrainingLoop._advance

def advance_until_told(loop):
    trouble = advance(loop)
    # It waits for the signal by itself, so that it always comes in the middle.
    while loop._position.global_step >= int(sys.argv[2]) and loop._signals.received is None:
        time.sleep(0.01)
    return trouble

TrainingLoop._advance = advance_until_told
sys.exit(main(["train", sys.argv[1]]))
"""


@pytest.mark.skipif(not FULL, reason="three processes, one after the other; CLOZEKIT_FULL=1 runs it")
def test_a_signal_saves_and_ends_with_75(dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    config = command(config_for(dataset[0], directory))[-1]
    for step, number in {14: signal.SIGUSR1, 38: signal.SIGTERM}.items():
        before = log_inode(directory)
        with started("-c", STOPPED, config, str(step)) as child:
            wait_for_step(directory, step, child, before)
            child.process.send_signal(number)
            assert child.ended() == 75, child.output()
            # One line, in the words of what happened.
            line = child.output().strip().splitlines()[-1]
            assert line == (
                f"clozekit train: stopped by {number.name}, saved at step {step} of {STEPS}; run it again to resume"
            )
    with started("-m", "clozekit.deploy.cli", "train", config) as child:
        finished(child)
        assert f"going on from step 38 of {STEPS}" in child.output()
    assert_same_run(directory, uninterrupted)


HASTY = """
import os
import sys
import time
from pathlib import Path
from clozekit.deploy.cli.main import main
from clozekit.model.training.cluster.workers import Workers

part, is_there = Workers.part, Path(sys.argv[2])

def part_or_go(workers):
    if workers.is_chief:
        is_there.touch()
        part(workers)
    else:
        # Before, the chief may still be about to read that both are at the end.
        while not is_there.exists():
            time.sleep(0.01)
        os._exit(0)

Workers.part = part_or_go
sys.exit(main(["train", sys.argv[1]]))
"""


def start_two(stack: ExitStack, first: list[str], second: list[str] | None = None) -> list[Child]:
    """Two workers that find each other through the resolver, both started alike or each with arguments of its own."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in (0, 1)]
    return [
        stack.enter_context(started(*arguments, TF_CONFIG=json.dumps(task)))
        for arguments, task in zip((first, second or first), tasks, strict=True)
    ]


@pytest.fixture(scope="module")
def two_workers(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two workers that nobody interrupted."""
    directory = tmp_path_factory.mktemp("two") / "run"
    with ExitStack() as stack:
        finished(*start_two(stack, command(config_for(dataset[0], directory))))
    return directory


def assert_nearly_same_run(directory: Path, expected: Path, rate: float) -> None:
    """What counts is the same, sums differ by their rounding: `rate` of the numbers."""
    for entry, other in zip(curve(directory), curve(expected), strict=True):
        for name, value in other.items():
            if name in ("kind", "step", "tokens_seen", "skipped_steps", "num_predictions"):
                assert entry[name] == value
            else:
                assert entry[name] == pytest.approx(value, rel=rate, abs=0.02), (name, other["step"])


@pytest.mark.skipif(not FULL, reason="two processes more; CLOZEKIT_FULL=1 runs it")
def test_two_workers_train_as_one(two_workers: Path, uninterrupted: Path) -> None:
    assert_nearly_same_run(two_workers, uninterrupted, rate=0.02)


@pytest.mark.parametrize("victim", [0, 1] if FULL else [1])
def test_a_killed_worker_stops_the_others_and_all_go_on(
    victim: int, dataset: tuple[str, Manifest], uninterrupted: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory = tmp_path / "run"
    arguments = command(config_for(dataset[0], directory))
    both = [arguments, arguments]
    # It stands there until it is killed, however fast the machine is.
    both[victim] = ["-c", STOPPED, arguments[-1], "24"]
    with ExitStack() as stack:
        workers = start_two(stack, *both)
        wait_for_step(directory, 24, workers[0])
        workers[victim].kill()
        survivor = workers[1 - victim]
        status = survivor.ended()
        assert status == 76, survivor.output()
        assert "another worker is gone" in survivor.output().strip().splitlines()[-1]
    assert not (directory / "preset").exists()
    alone = shutil.copytree(directory, tmp_path / "alone" / "run")
    # The second is gone as soon as both know that they are at the end; the first is not taken for one that was left alone.
    hasty = ["-c", HASTY, arguments[-1], str(tmp_path / "chief is at the end")]
    with ExitStack() as stack:
        finished(*start_two(stack, hasty))
    if FULL:
        assert_same_run(directory, request.getfixturevalue("two_workers"))
    # Two workers train as one does.
    assert_nearly_same_run(directory, uninterrupted, rate=0.02)
    # One worker goes on alone from what two have saved: the same rows and masks.
    Run(dataclasses.replace(config_for(dataset[0], alone))).train()
    assert_nearly_same_run(alone, uninterrupted, rate=0.02)


@pytest.mark.skipif(not FULL, reason="a minute of two processes; CLOZEKIT_FULL=1 runs it")
def test_a_signal_to_one_worker_stops_both(dataset: tuple[str, Manifest], two_workers: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    arguments = command(config_for(dataset[0], directory))
    with ExitStack() as stack:
        workers = start_two(stack, arguments)
        step = wait_for_step(directory, 11, workers[0])
        workers[1].process.send_signal(signal.SIGTERM)
        assert [worker.ended() for worker in workers] == [75, 75], [worker.output() for worker in workers]
        assert "stopped by another worker, saved at step" in workers[0].output()
        assert "stopped by SIGTERM, saved at step" in workers[1].output()
    saved = max(int(path.name.removeprefix("step-")) for path in (directory / "checkpoints").iterdir())
    assert saved >= step
    if FULL:
        with ExitStack() as stack:
            finished(*start_two(stack, arguments))
        assert_same_run(directory, two_workers)
