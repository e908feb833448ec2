"""Damaged checkpoints: never accepted with other numbers, and an older whole one is found."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fuzzing import damaged_bytes, damaged_json, dice_of_cases

from clozekit.model.training.run_directory.checkpoint_state import DamagedStateError, state_from_json
from clozekit.model.training.run_directory.checkpoints import STATE_FILE, Checkpoints, Position
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.tokenizers.common.errors import InputError

IDENTITY = {"seed": 0, "model.num_layers": 2}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Checkpoints]:
    """Checkpoints of steps 1 and 2, whose variables hold their step."""
    variable = tf.Variable(tf.fill([50], 1.0))
    checkpoints = Checkpoints(str(tmp_path / "run"), {"model/a": variable}, IDENTITY, keep=3)
    checkpoints.save(Position(1, next_row=8, tokens_seen=100), 2.5)
    variable.assign(tf.fill([50], 2.0))
    checkpoints.save(Position(2, next_row=16, tokens_seen=200), 2.25)
    return tmp_path / "run" / "step-00000002", checkpoints


def check_newest(checkpoints: Checkpoints) -> None:
    """What is found is one of the two, as it was."""
    found, values, problems = checkpoints.newest()
    assert found is not None
    step = found.step
    assert found.position == Position(step, next_row=8 * step, tokens_seen=100 * step)
    assert found.validation_loss == (2.5, 2.25)[step - 1]
    assert np.all(values["model/a"] == step)
    assert step == 2 or len(problems) == 1
    assert not any("\n" in problem for problem in problems)


def test_fuzz_bytes_of_a_checkpoint(saved: tuple[Path, Checkpoints], tmp_path: Path) -> None:
    folder, checkpoints = saved
    whole = shutil.copytree(folder, tmp_path / "whole")
    for _, dice in dice_of_cases(250):
        path = folder / dice.choice((STATE_FILE, STATE_FILE, "variables.index", "variables.data-00000-of-00001"))
        content = (whole / path.name).read_bytes()
        path.write_bytes(damaged_bytes(content, dice))
        check_newest(checkpoints)
        path.write_bytes(content)


def test_every_bit_of_a_state_counts(saved: tuple[Path, Checkpoints]) -> None:
    folder, checkpoints = saved
    content = (folder / STATE_FILE).read_bytes()
    for bit in range(0, 8 * len(content), 37):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (folder / STATE_FILE).write_bytes(damaged)
        check_newest(checkpoints)


def test_fuzz_values_of_a_state_without_checksum(saved: tuple[Path, Checkpoints]) -> None:
    """Of an earlier version: what is accepted is of the right types and in range."""
    written = json.loads((saved[0] / STATE_FILE).read_text(encoding="utf-8"))
    del written["sha256"]
    for _, dice in dice_of_cases(2000):
        text = json.dumps(damaged_json(written, dice))
        try:
            state = state_from_json(text)
        except DamagedStateError as error:
            assert "\n" not in str(error)
            continue
        position = state["position"]
        assert all(0 <= position.get(name, 0) <= 2**53 for name in ("global_step", "next_row", "tokens_seen"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("position", "next_row"), -5, "next_row must be a whole number from 0"),
        (("position", "next_row"), 10**30, "next_row must be a whole number from 0"),
        (("position", "global_step"), "2", "global_step must be a whole number"),
        (("position", "used_seconds"), float("nan"), "used_seconds must be a number from 0"),
        (("run",), 5, "run must hold the settings"),
        (("position",), [], "position must say where the run stands"),
        (("position", "watch"), None, "watch must hold"),
        (("validation_loss",), float("nan"), "validation_loss must be a number"),
        (("validation_loss",), 10**400, "validation_loss must be a number"),
        (("position", "watch", "recent"), [[1, 10**400, 2.0]], "watch.recent must hold"),
        (("files",), {}, "files must be the checkpoint's own"),
        (("validation_loss",), "low", "validation_loss must be a number"),
        (("files",), {"../x": 5}, "files must be the checkpoint's own"),
        (("ssha256",), "5", "it must hold files, position, run, validation_loss, it holds"),
    ],
)
def test_a_state_of_an_earlier_version_that_can_not_be_is_passed_over(
    path: tuple[str, ...], value: object, message: str, saved: tuple[Path, Checkpoints]
) -> None:
    folder, checkpoints = saved
    fields = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    del fields["sha256"]
    (folder / STATE_FILE).write_text(json.dumps(fields), encoding="utf-8")
    check_newest(checkpoints)
    *way, last = path
    holder = fields
    for key in way:
        holder = holder[key]
    holder[last] = value
    (folder / STATE_FILE).write_text(json.dumps(fields), encoding="utf-8")
    found, _, problems = checkpoints.newest()
    assert found is not None
    assert (found.step, len(problems)) == (1, 1)
    assert message in problems[0]


def test_a_state_nested_without_end_is_passed_over(saved: tuple[Path, Checkpoints]) -> None:
    folder, checkpoints = saved
    (folder / STATE_FILE).write_text('{"run": ' * 100_000, encoding="utf-8")
    check_newest(checkpoints)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "long"])
def test_a_state_that_is_no_file_is_passed_over(kind: str, saved: tuple[Path, Checkpoints]) -> None:
    folder, checkpoints = saved
    path = folder / STATE_FILE
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with open(path, "wb") as stream:
            stream.truncate(2**40)
    check_newest(checkpoints)


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "train", "step": -1}',
        '{"kind": "train", "step": 1000000000000000000000000000000}',
        '{"kind": "train", "step": 1, "cost": "5"}',
        '{"kind": "train", "step": 1, "loss": NaN}',
        '{"kind": "train", "step": 1, "loss": [2.0]}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_entry_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text(f'{{"kind": "train", "step": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2 must"):
        read_metrics(tmp_path / METRICS_FILE)


def test_fuzz_logs(tmp_path: Path) -> None:
    lines = [{"kind": "train", "step": step, "loss": 2.0} for step in range(1, 6)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    for _, dice in dice_of_cases(500):
        (tmp_path / METRICS_FILE).write_bytes(damaged_bytes(content, dice))
        try:
            read_metrics(tmp_path / METRICS_FILE)
        except InputError as error:
            assert "\n" not in str(error)
