"""A real sweep: tiny trainings side by side, whose leader is killed in the middle and started again."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from long_variants import FULL
from processes import started

from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.cores_here import cores_here

LIMIT_SECONDS = 600
RATES = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1] if FULL else [1e-2, 1e-4, 1e-3]
BATCHES = [4, 8] if FULL else [4]
STEPS = 100 if FULL else 4


HALVING = {"rule": "halving", "reduction_factor": 2}


def write_recipe(folder: Path, dataset: str, rule: dict[str, Any], batches: list[int]) -> None:
    train = {
        "dataset": dataset,
        "model": {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32},
        "train": {"steps": STEPS, "steps_per_loop": 2, "xla": False},
        "evaluate": {"every_steps": STEPS // 4, "max_rows": 8},
        "checkpoint": {"every_steps": STEPS // 2},
    }
    score = {"score": {"evaluate": {"preset": "${train.preset}", "dataset": dataset, "max_rows": 8}}}
    recipe = {
        "output": "out",
        "limits": {"cores": min(2, cores_here())},
        "steps": {"train": {"needs": {"cores": 1}, "train": train}, **(score if FULL else {})},
        "sweep": {
            "train.optimizer.learning_rate": RATES,
            "train.train.global_batch_size": batches,
            "prune": {"after_steps": STEPS // 4, **rule},
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


def records(folder: Path) -> dict[str, bytes]:
    """What is noted of the steps that are done."""
    return {path.parent.name: path.read_bytes() for path in folder.glob("out/steps/*/step.json")}


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "batches"), [({}, BATCHES), *([(HALVING, [4])] if FULL else [])])
def test_a_sweep_of_real_trainings_goes_on_after_a_kill_and_does_nothing_again(
    dataset: tuple[str, Manifest],
    rule: dict[str, Any],
    batches: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_recipe(tmp_path, dataset[0], rule, batches)
    monkeypatch.chdir(tmp_path)
    command = ("-m", "clozekit.deploy.cli", "run", "recipe.yaml")
    whole: dict[str, bytes] = {}
    with started(*command) as leader:
        end = time.monotonic() + LIMIT_SECONDS
        while not whole:
            assert time.monotonic() < end and leader.process.poll() is None, leader.output()
            whole = records(tmp_path)
            time.sleep(0.01)
        leader.kill()
    with started(*command) as leader:
        assert leader.ended() == 0, leader.output()
        table = leader.output()
    for name, record in whole.items():
        assert records(tmp_path)[name] == record
    sweep = json.loads((tmp_path / "out" / "sweep.json").read_text())
    states = [trial["state"] for trial in sweep["trials"]]
    assert len(states) == len(RATES) * len(batches)
    assert set(states) <= {"done", "pruned"} and states.count("done") >= (1 if rule else 3)
    means = {trial["number"]: trial["mean"] for trial in sweep["trials"] if trial["mean"] is not None}
    assert sweep["best"] == min(means, key=lambda number: means[number])
    assert re.search(rf"^best: trial {sweep['best']}, loss ", table, re.MULTILINE)
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert all(f"trial {number}" in page for number in means)
    best = sweep["trials"][sweep["best"] - 1]["runs"][0]
    scores = [json.loads(path.read_text())["preset"] for path in tmp_path.glob("out/steps/score-*/evaluation.json")]
    assert scores == ([f"{best['output']}/preset"] if FULL else [])
    before = records(tmp_path)
    with started(*command) as leader:
        assert leader.ended() == 0, leader.output()
    assert records(tmp_path) == before
