"""Checkpoints: whole or not there, the newest and the best kept, damage passed over, on disks and at URLs."""

import json
import re
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helper_folder import HELPERS
from processes import started

from clozekit.model.training.objectives.divergence import Watch
from clozekit.model.training.run_directory.checkpoints import STATE_FILE, Checkpoints, Position
from clozekit.tokenizers.common.errors import InputError

IDENTITY = {"seed": 0, "dataset_sha256": "d"}


def make(directory: str, value: float = 0.0, size: int = 1000, **settings: Any) -> tuple[Checkpoints, tf.Variable]:
    variable = tf.Variable(tf.fill([size], value))
    count = tf.Variable(0, dtype=tf.int64)
    settings = {"keep": 2, **settings}
    return Checkpoints(directory, {"model/a": variable, "optimizer/0000": count}, IDENTITY, **settings), variable


def saved_steps(checkpoints: Checkpoints) -> list[int]:
    return [saved.step for saved in checkpoints.found()]


@pytest.fixture(params=["disk", "url"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """ram:// is TensorFlow's own file system without atomic directories, as gs:// is."""
    return str(tmp_path / "checkpoints") if request.param == "disk" else f"ram://{tmp_path.name}/checkpoints"


@pytest.mark.parametrize("background", [False, True])
def test_a_saved_checkpoint_comes_back(directory: str, background: bool) -> None:
    checkpoints, variable = make(directory, 3.0, background=background)
    watch = Watch(((2, 0.1 + 0.2, 7.0), (3, 1 / 3, 1.0)), 0.7, 5)
    position = Position(7, 56, 1234, 8, 1, watch=watch)
    checkpoints.save(position, validation_loss=2.5)
    # The state was copied: what comes after is not in it.
    variable.assign(tf.fill([1000], 9.0))
    checkpoints.wait()
    other, restored = make(directory)
    saved, values, problems = other.newest()
    assert saved is not None
    assert (saved.position, saved.validation_loss, problems) == (position, 2.5, [])
    other.assign(values)
    assert (restored.numpy() == 3.0).all()


def test_the_newest_and_the_best_are_kept(directory: str) -> None:
    checkpoints, _ = make(directory, keep_best=True)
    for step, loss in ((1, 5.0), (2, 1.0), (3, None), (4, 2.0), (5, 1.0), (6, 3.0)):
        checkpoints.save(Position(step), loss)
    assert saved_steps(checkpoints) == [2, 5, 6]
    plain, _ = make(directory)
    plain.save(Position(7))
    assert saved_steps(plain) == [6, 7]


def test_an_unfinished_checkpoint_does_not_count_and_goes(directory: str) -> None:
    checkpoints, _ = make(directory, 1.0)
    checkpoints.save(Position(1))
    checkpoints.save(Position(2))
    tf.io.gfile.remove(f"{directory}/step-00000002/{STATE_FILE}")
    saved, _, problems = checkpoints.newest()
    assert saved is not None
    assert (saved.step, problems) == (1, ["step-00000002: it was not finished"])
    checkpoints.save(Position(3))
    assert sorted(name.rstrip("/") for name in tf.io.gfile.listdir(directory)) == ["step-00000001", "step-00000003"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "variables.data-00000-of-00001 is cut off"),
        ("flip", "it is not what was written"),
        ("remove", "variables.index is missing"),
        ("state", "state.json can't be read"),
        ("other", "model/a must be of shape (1000,), there it is (3,)"),
    ],
)
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str, message: str) -> None:
    checkpoints, _ = make(str(tmp_path), 1.0)
    checkpoints.save(Position(1))
    if damage == "other":
        make(str(tmp_path), 2.0, size=3)[0].save(Position(2))
    else:
        checkpoints.save(Position(2))
    data, index = (tmp_path / "step-00000002" / f"variables.{end}" for end in ("data-00000-of-00001", "index"))
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:-9])
    if damage == "flip":
        data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    if damage == "remove":
        index.unlink()
    if damage == "state":
        (tmp_path / "step-00000002" / STATE_FILE).write_text('{"run": ', encoding="utf-8")
    saved, values, problems = checkpoints.newest()
    assert saved is not None
    assert saved.step == 1
    assert (values["model/a"] == 1.0).all()
    assert len(problems) == 1
    assert problems[0].startswith(f"step-00000002: {message}")
    assert "\n" not in problems[0]
    # Kept for whoever wants to look at it, and in nobody's way.
    checkpoints.set_aside(problems)
    assert saved_steps(checkpoints) == [1]
    assert (tmp_path / "step-00000002.damaged").is_dir()


def test_a_run_of_other_settings_is_refused(directory: str) -> None:
    make(directory)[0].save(Position(1))
    other = Checkpoints(directory, {}, {**IDENTITY, "seed": 1}, keep=1)
    with pytest.raises(InputError, match=r"goes on only with the settings .* \(seed was 0, is 1\)"):
        other.newest()


def test_a_worker_that_can_not_see_the_directory_is_told_so(directory: str) -> None:
    checkpoints, _ = make(directory, 4.0)
    checkpoints.save(Position(3))
    assert (checkpoints.at(3)[1]["model/a"] == 4.0).all()
    with pytest.raises(InputError, match="every worker must see the run's `directory`, the chief goes on from step 4"):
        checkpoints.at(4)


def test_later_checkpoints_of_a_course_that_was_left_go(directory: str) -> None:
    checkpoints, _ = make(directory, keep=5)
    for step in (2, 4, 6):
        checkpoints.save(Position(step))
    saved, _, _ = checkpoints.newest(at_most_step=5)
    assert saved is not None
    assert saved.step == 4
    checkpoints.remove_after(2)
    assert saved_steps(checkpoints) == [2]


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """The kernel refuses to write more into a file, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_costs_no_checkpoint(tmp_path: Path, background: bool) -> None:
    checkpoints, variable = make(str(tmp_path), 1.0, size=100_000, background=background)
    checkpoints.save(Position(1))
    checkpoints.wait()
    variable.assign(tf.fill([100_000], 2.0))
    with (
        files_of_at_most(50_000),
        pytest.raises(OSError, match="must be written whole, .*step-00000002 could not") as caught,
    ):
        checkpoints.save(Position(2))
        checkpoints.wait()
    assert "the last whole one is " + str(tmp_path / "step-00000001") in str(caught.value)
    assert "\n" not in str(caught.value)
    saved, values, _ = checkpoints.newest()
    assert saved is not None
    assert (saved.step, (values["model/a"] == 1.0).all()) == (1, True)
    # With room again, it goes on.
    checkpoints.save(Position(3))
    checkpoints.wait()
    assert saved_steps(checkpoints) == [1, 3]


KILLED = """
import os, sys
import tensorflow as tf
sys.path += sys.argv[1].split(":")
from test_checkpoints import Position, make
checkpoints, variable = make(sys.argv[2], size=200_000)
print("ready", flush=True)
for step in range(1, 1_000_000):
    variable.assign(tf.fill([200_000], float(step)))
    checkpoints.save(Position(step))
    print(step, flush=True)
"""


def test_killed_while_writing_there_is_always_a_whole_one(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    last = 3 + int(dice.integers(20))
    with started("-c", KILLED, f"{Path(__file__).parent}:{HELPERS}", str(tmp_path)) as child:
        while len(said := re.findall(r"(?m)^\d+$", child.output())) < last:
            assert child.process.poll() is None, child.output()
            time.sleep(0.001)
        child.kill()
    checkpoints, _ = make(str(tmp_path), size=200_000)
    saved, values, _ = checkpoints.newest()
    assert saved is not None
    assert saved.step >= int(said[-1])
    assert (values["model/a"] == float(saved.step)).all()
    state = json.loads((Path(saved.path) / STATE_FILE).read_text(encoding="utf-8"))
    assert state["run"] == IDENTITY
