"""What fine-tuning has of the common loop: it ends on signals, goes back, trains on several devices, takes old names."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetune_runs import curve, run_of, settings_of
from helper_folder import HELPERS
from long_variants import FULL
from poisoned_runs import poisoned
from processes import finished, free_ports, started

from clozekit.model import TextClassifier
from clozekit.model.presets.lineage import LINEAGE_FILE
from clozekit.model.training.cluster.endings import StoppedError
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.settings.finetune_settings import RENAMED, load_finetune_config
from clozekit.model.training.training_loop import TrainingLoop
from clozekit.tokenizers.common.errors import InputError

# Two micro-batches, so that two devices compute the same pieces with the same dropout.
CHANGES = ("data.test=test.tsv", "train.micro_batch_size=8", "train.steps_per_loop=4", "checkpoint.every_steps=15")


def weights(directory: Path) -> list[np.ndarray]:
    return TextClassifier.from_preset(str(directory / "preset")).get_weights()


@pytest.fixture(scope="module")
def whole(start_preset: str, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    run_of(start_preset, labelled, directory, *CHANGES).train()
    return directory


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    """From now on a loop that comes to `step` gets the signal, really."""
    advance = TrainingLoop._advance

    def advance_and_stop(loop: TrainingLoop) -> Any:
        trouble = advance(loop)
        if loop._position.global_step == step:
            signal.raise_signal(number)
        return trouble

    monkeypatch.setattr(TrainingLoop, "_advance", advance_and_stop)


def train_until(step: int, number: signal.Signals, start_preset: str, labelled: Path, directory: Path) -> None:
    """The loop ends steps at 4, 8, 10 (an epoch, with an evaluation), 12, 15 (a checkpoint) and so on."""
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step, number)
        with pytest.raises(StoppedError, match=f"stopped by {number.name}, saved at step {step} of 50"):
            run_of(start_preset, labelled, directory, *CHANGES).train()
    assert not (directory / "result.json").exists()


@pytest.fixture(scope="module")
def stopped(start_preset: str, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended on a signal after 12 of its 50 steps."""
    directory = tmp_path_factory.mktemp("stopped")
    train_until(12, signal.SIGTERM, start_preset, labelled, directory)
    return directory


@pytest.mark.slow
def test_fine_tuning_that_a_signal_stopped_twice_is_as_if_never_stopped(
    start_preset: str, labelled: Path, whole: Path, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    train_until(32, signal.SIGUSR1, start_preset, labelled, tmp_path)
    result = run_of(start_preset, labelled, tmp_path, *CHANGES).train()
    assert result == json.loads((whole / "result.json").read_text(encoding="utf-8"))
    assert curve(tmp_path) == curve(whole)
    assert all((a == b).all() for a, b in zip(weights(tmp_path), weights(whole), strict=True))
    assert (tmp_path / "preset" / LINEAGE_FILE).read_bytes() == (whole / "preset" / LINEAGE_FILE).read_bytes()
    for name in ("dev.tsv", "test.tsv"):
        assert (tmp_path / "predictions" / name).read_bytes() == (whole / "predictions" / name).read_bytes()


ON_DEVICES = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from finetune_runs import run_of
run_of(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:]).train()
"""


def on_devices(start_preset: str, labelled: Path, directory: Path, *changes: str) -> list[str]:
    return ["-c", ON_DEVICES, str(HELPERS), start_preset, str(labelled), str(directory), *CHANGES, *changes]


def assert_same_course(directory: Path, whole: Path) -> None:
    """But for the order in which sums are added up."""
    mine, others = curve(directory), curve(whole)
    assert [(entry["kind"], entry["step"]) for entry in mine] == [(entry["kind"], entry["step"]) for entry in others]
    for entry, other in zip(mine, others, strict=True):
        assert entry.keys() == other.keys()
        numbers = [name for name in entry if name != "kind"]
        np.testing.assert_allclose(
            [entry[name] for name in numbers], [other[name] for name in numbers], rtol=2e-2, atol=2e-3
        )
    for a, b in zip(weights(directory), weights(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-2, atol=5e-3)


def test_begun_on_one_device_fine_tuning_goes_on_on_two(
    start_preset: str, labelled: Path, whole: Path, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    # TensorFlow's devices can't change once it is running.
    command = on_devices(start_preset, labelled, tmp_path, "cluster.num_cpu_devices=2", "cluster.strategy=mirrored")
    with started(*command) as child:
        finished(child)
    assert_same_course(tmp_path, whole)


@pytest.mark.skipif(not FULL, reason="two processes; CLOZEKIT_FULL=1 runs it")
def test_two_workers_fine_tune_as_one(start_preset: str, labelled: Path, whole: Path, tmp_path: Path) -> None:
    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    configs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(2)]
    command = on_devices(start_preset, labelled, tmp_path)
    with started(*command, TF_CONFIG=configs[0]) as chief, started(*command, TF_CONFIG=configs[1]) as worker:
        finished(chief, worker)
    assert_same_course(tmp_path, whole)


@pytest.mark.slow
def test_fine_tuning_goes_back_and_on_behind_the_bad_rows(start_preset: str, labelled: Path, tmp_path: Path) -> None:
    config = settings_of(
        *(start_preset, labelled, tmp_path, "train.steps_per_loop=2", "checkpoint.every_steps=4", "train.epochs=4"),
        *("divergence.num_bad_steps=4", "divergence.action=go_back", "evaluate.every_steps=20"),
    )
    run = poisoned(FinetuneRun, range(200, 260))(config)
    run.train()
    events = [entry for entry in curve(tmp_path) if entry["kind"] == "event"]
    # Steps 13 to 16 were the first that were skipped; then the last of the bad rows were gone.
    assert [(event["step"], event["from_step"], event["rows_left_out"]) for event in events] == [(13, 16, 64)]
    saved, _, _ = run.checkpoints.newest()
    assert saved is not None
    assert (saved.step, saved.position.next_row, saved.position.num_returns) == (40, 40 * 16 + 64, 1)


def test_old_names_of_settings_are_taken_and_the_new_ones_said(capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "epochs": 5.0,
        "batch_size": 8,
        "xla": False,
        "dtype": "mixed_bfloat16",
        "learning_rate": 1e-4,
        "warmup_rate": 0.2,
        "weight_decay": 0.0,
        "clip_norm": 2.0,
        "evaluate_every_steps": 7,
        "checkpoint_every_steps": 9,
    }
    assert given.keys() == RENAMED.keys()
    start = ["init_from=x", "directory=y", *("data.train=a", "data.text=0", "data.label=1")]
    old = load_finetune_config(None, [*start, *(f"{name}={json.dumps(value)}" for name, value in given.items())])
    said = capsys.readouterr().err.splitlines()
    new = load_finetune_config(None, [*start, *(f"{RENAMED[k]}={json.dumps(v)}" for k, v in given.items())])
    assert old == new != load_finetune_config(None, start)
    assert said == [
        f"note: {name} is called {RENAMED[name]} now; the old name is taken in this release only" for name in given
    ]
    assert capsys.readouterr().err == ""


def test_an_old_name_beside_the_new_one_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"dtype is the old name of train.precision, which is given too; leave dtype out"
    ):
        load_finetune_config("glue/rte", ["init_from=x", "directory=y", "dtype=float32", "train.precision=float32"])
