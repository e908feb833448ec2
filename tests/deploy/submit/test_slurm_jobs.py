"""Jobs on a real Slurm: a training of two tasks, a step of a workflow. Told to stop in its middle, requeued to another node, it ends as if it had
never stopped. CLOZEKIT_FULL=1 compares bit for bit with a job that Slurm was not asked to stop."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from command_line import LINE
from grammar import sentences
from long_variants import FULL
from processes import started
from slurm_cluster import NODES, Slurm, missing, slurm_cluster

from clozekit.deploy.submit import slurm_jobs as deployed
from clozekit.deploy.submit.job_spec import Job, SlurmSettings
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import MEASURED, METRICS_FILE, read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

STEPS = 80


def config_for(dataset: str, folder: Path) -> RunSettings:
    return RunSettings(
        dataset,
        str(folder / "run"),
        model=ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1),
        train=TrainSettings(steps=STEPS, global_batch_size=8, micro_batch_size=4, steps_per_loop=2, xla=False),
        optimizer=OptimizerSettings(learning_rate=0.01),
        checkpoint=CheckpointSettings(every_steps=10),
        evaluate=EvaluateSettings(every_steps=40, max_rows=32),
    )


def submit(slurm: Slurm, dataset: str, folder: Path, name: str) -> str:
    """The number of a job of `clozekit submit slurm` that trains in `folder`."""
    folder.mkdir()
    config = folder / "run.yaml"
    config.write_text(config_for(dataset, folder).to_yaml(), encoding="utf-8")
    setup = (f"export PATH={Path(sys.executable).parent}:$PATH",)
    job = Job(name, num_workers=2, slurm=SlurmSettings(folder=str(folder), setup=setup))
    text = deployed.render(job, deployed.command(job, ["train", str(config)], LINE))
    # TensorFlow listens on all addresses of a machine, and here the nodes share one: both tasks go to one node.
    for there, here in (("--nodes=2", "--nodes=1"), ("--ntasks-per-node=1", "--ntasks-per-node=2")):
        assert there in text
        text = text.replace(there, here)
    (folder / name).mkdir()
    script = folder / "job.sh"
    script.write_text(text, encoding="utf-8")
    return slurm.run("sbatch", "--parsable", str(script)).strip()


def output(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("*/log-*.txt"))


def curve(folder: Path) -> list[dict[str, Any]]:
    entries = read_metrics(folder / "run" / METRICS_FILE)
    return [{name: value for name, value in entry.items() if name not in MEASURED} for entry in entries]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def ended(slurm: Slurm, job: str, folder: Path) -> None:
    slurm.wait_for(lambda: slurm.state(job) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"), "the end")
    assert slurm.state(job) == "COMPLETED", output(folder) + slurm.logs()


def test_a_job_that_slurm_stops_and_requeues_is_as_if_never_stopped(
    slurm: Slurm, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    job = submit(slurm, dataset[0], folder, "stopped")
    slurm.wait_for(lambda: any((folder / "run" / "checkpoints").glob("*/state.json")), "a checkpoint")
    slurm.run("scancel", "--signal=TERM", job)
    slurm.wait_for(lambda: f"ended with 75, start 0 of job {job}" in output(folder), "the signal")
    # The node is gone, as a preempted one is; and nobody waits for Slurm's two minutes before a requeued job.
    slurm.run("scontrol", "update", f"nodename={NODES[0]}", "state=drain", "reason=test")
    slurm.wait_for(lambda: slurm.state(job) == "PENDING", "the requeue")
    slurm.run("scontrol", "update", f"jobid={job}", "StartTime=now")
    ended(slurm, job, folder)
    slurm.run("scontrol", "update", f"nodename={NODES[0]}", "state=resume")
    text = output(folder)
    assert NODES[1] in slurm.run("scontrol", "show", "job", job)
    assert "stopped by SIGTERM, saved at step" in text and "going on from step" in text
    assert f"ended with 0, start 1 of job {job}" in text

    if FULL:
        whole = tmp_path / "whole"
        ended(slurm, submit(slurm, dataset[0], whole, "whole"), whole)
        assert curve(folder) == curve(whole)
        return
    # One process, whose sums differ by rounding.
    Run(config_for(dataset[0], tmp_path / "alone")).train()
    ours, expected = curve(folder), curve(tmp_path / "alone")
    assert [(entry["kind"], entry["step"]) for entry in ours] == [(entry["kind"], entry["step"]) for entry in expected]
    assert [entry["loss"] for entry in ours] == pytest.approx([entry["loss"] for entry in expected], rel=1e-3)


WORKFLOW = """\
output: out
steps:
  data:
    prepare: {{tokenizer: {tokenizer}, read: {{inputs: [docs.txt], document_kind: line}}, rows: {{sequence_length: 32, validation_rate: 0.2}}}}
  model:
    where: {{platform: slurm, slurm: {{setup: ["export PATH={programs}:$PATH"]}}}}
    train:
      dataset: ${{data.output}}
      model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32}}
      train: {{steps: 200, global_batch_size: 8, xla: false, steps_per_loop: 2}}
      checkpoint: {{every_steps: 10}}
"""


def test_a_workflow_prepares_here_and_trains_on_slurm_with_a_leader_that_is_killed(
    slurm: Slurm, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "docs.txt").write_text("".join(f"{text}\n" for number in range(60) for text in sentences(number, 4)))
    text = WORKFLOW.format(tokenizer=tmp_path / "tokenizer", programs=Path(sys.executable).parent)
    (tmp_path / "recipe.yaml").write_text(text)
    # The job and its leader may be on different machines: all paths are of the file system that they share.
    arguments = ("-m", "clozekit.deploy.cli", "run", str(tmp_path / "recipe.yaml"), f"output={tmp_path}/out")
    environment = {**slurm.environment, "PATH": os.environ["PATH"]}
    with ExitStack() as stack:
        stack.enter_context(contextlib.chdir(tmp_path))
        with started(*arguments, **environment) as leader:

            def has_saved() -> bool:
                logs = "".join(path.read_text() for path in tmp_path.glob("out/steps/*/log.txt"))
                assert leader.process.poll() is None, leader.output() + logs
                return any(tmp_path.glob("out/steps/model-*/run/checkpoints/*/state.json"))

            slurm.wait_for(has_saved, "a checkpoint")
            leader.kill()
        # The job goes on, and the next leader finds it.
        jobs = slurm.run("squeue", "--noheader", "--format=%i").split()
        assert len(jobs) == 1
        with started(*arguments, **environment) as leader:
            assert leader.ended() == 0, leader.output() + output(tmp_path / "out" / "steps")
            assert "data (prepare): skipped" in leader.output()
    (log,) = tmp_path.glob("out/steps/model-*/log.txt")
    assert log.read_text().count("$ sbatch") == 1 and "already submitted, nothing is sent" in log.read_text()
    assert slurm.state(jobs[0]) == "COMPLETED"
    (preset,) = tmp_path.glob("out/steps/model-*/run/preset/config.json")
    assert preset.is_file()
