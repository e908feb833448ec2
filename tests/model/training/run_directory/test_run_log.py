"""The log: exact over restarts and returns, on disks and at URLs; what it says of speed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.training.measures import LoopTimes, peak_memory_bytes, speed
from clozekit.model.training.run_directory.run_log import METRICS_FILE, MetricsLog, read_metrics
from clozekit.model.training.settings.loop_settings import LogSettings


def logged_events(directory: str) -> list[tuple[str, int, float]]:
    """(tag, step, value) of every number in TensorBoard's files."""
    found = []
    for path in tf.io.gfile.glob(f"{directory}/tensorboard/*/*"):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.append((value.tag, int(event.step), float(tf.make_ndarray(value.tensor))))
    return sorted(found)


@pytest.fixture(params=["disk", "url"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "run") if request.param == "disk" else f"ram://{tmp_path.name}/run"


def write(log: MetricsLog, first: int, last: int) -> None:
    for step in range(first, last + 1):
        log.write("train", step, {"loss": step + 0.5})


def test_a_restart_replaces_what_came_after_its_checkpoint(directory: str) -> None:
    log = MetricsLog(directory, 0)
    write(log, 1, 5)
    log.write("validation", 5, {"loss": 9.0})
    log.close()
    again = MetricsLog(directory, 3)
    write(again, 4, 6)
    again.close()
    entries = read_metrics(f"{directory}/{METRICS_FILE}")
    assert entries == [{"kind": "train", "step": step, "loss": step + 0.5} for step in range(1, 7)]
    assert logged_events(directory) == [("loss", step, step + 0.5) for step in range(1, 7)]


def test_going_back_drops_numbers_and_keeps_what_happened(directory: str) -> None:
    log = MetricsLog(directory, 0)
    write(log, 1, 4)
    log.go_back(2)
    log.write("event", 3, {"event": "went_back"})
    write(log, 3, 4)
    log.go_back(2)
    log.write("event", 3, {"event": "went_back"})
    write(log, 3, 3)
    log.close()
    kinds = [(entry["kind"], entry["step"]) for entry in read_metrics(f"{directory}/{METRICS_FILE}")]
    assert kinds == [("train", 1), ("train", 2), ("event", 3), ("event", 3), ("train", 3)]
    # A run that goes on from step 2, saved before all that, knows nothing of it.
    MetricsLog(directory, 2).close()
    assert [entry["step"] for entry in read_metrics(f"{directory}/{METRICS_FILE}")] == [1, 2]
    assert [step for _, step, _ in logged_events(directory)] == [1, 2]


def test_the_perplexity_of_a_run_gone_wild_is_logged_too(directory: str) -> None:
    log = MetricsLog(directory, 0)
    log.write("validation", 1, {"loss": 690.0, "perplexity": math.exp(690.0), "accuracy": float("nan")})
    log.close()
    (entry,) = read_metrics(f"{directory}/{METRICS_FILE}")
    assert entry["perplexity"] == math.exp(690.0) and entry["accuracy"] is None
    assert ("perplexity", 1, float(np.finfo(np.float32).max)) in logged_events(directory)


def test_every_line_is_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.write("train", 1, {"loss": math.nan, "gradient_norm": math.inf, "skipped_steps": 1})
    log.close()
    (line,) = (tmp_path / METRICS_FILE).read_text(encoding="utf-8").splitlines()

    def refuse(text: str) -> None:
        raise AssertionError(text)

    entry = json.loads(line, parse_constant=refuse)
    assert entry == {"kind": "train", "step": 1, "loss": None, "gradient_norm": None, "skipped_steps": 1}


def test_speeds_by_hand() -> None:
    times = LoopTimes(num_steps=10, tokens=3_000, places=4_000, seconds=2.0, wait_seconds=0.1)
    assert speed(times, flops_per_token=1e6, num_devices=2, config=LogSettings(peak_teraflops=0.01)) == {
        "tokens_per_second": 1500.0,
        "padded_tokens_per_second": 2000.0,
        "useful_token_share": 0.75,
        "step_seconds": 0.2,
        "data_wait_share": 0.05,
        # 1e6 FLOPs x 2,000 places a second / (2 devices x 1e10 FLOPs a second).
        "model_flops_utilization": pytest.approx(0.1),
    }
    assert "model_flops_utilization" not in speed(times, 1e6, 2, LogSettings())


def test_memory_is_that_of_this_process() -> None:
    # More than TensorFlow alone needs, less than any machine of ours has.
    assert 100e6 < peak_memory_bytes() < 1e12
