"""The demo and jobs of Slurm, where somebody's file has a name of theirs: refused with the name before anything begins.

(`tests/end_to_end/test_foreign_files.py` tries the other commands.)
"""

from pathlib import Path

import pytest
from command_line import LINE

from clozekit.deploy.cli.main import main
from clozekit.deploy.demo import run_demo as demo
from clozekit.deploy.submit import slurm_jobs as deployed
from clozekit.deploy.submit.job_spec import Job, SlurmSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.owned_files import list_files


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in list_files(root)}


@pytest.mark.parametrize(
    "name",
    [
        *("train.yaml", "report.html", "corpus/python-docs.jsonl", "tokenizer/vocab.txt", "tokenizer/notes.txt"),
        *("dataset/manifest.json", "dataset/train-00000-of-00008-0a1b2c3d.tfrecord", "dataset/notes.txt"),
        *("run/config.yaml", "run/metrics.jsonl", "run/checkpoints/step-00000001/state.json", "preset/config.json"),
        *("preset/notes.txt", ".clozekit-files.json"),
    ],
)
def test_the_demo_takes_nobodys_place(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "write_corpus", lambda path: pytest.fail("it began"))
    planted = tmp_path / "demo" / name
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"precious")
    (tmp_path / "beside.txt").write_bytes(b"precious too")
    before = contents(tmp_path)
    assert main(["demo", "--directory", str(tmp_path / "demo"), "--steps", "1"]) == 2
    out, err = capsys.readouterr()
    # Of a folder with one meaning the folder is named.
    assert err.count("\n") == 1 and any(part in err for part in name.split("/")[-1:] + name.split("/")[1:-1])
    assert out == ""
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["job.sh", "config.yaml", ".clozekit-files.json"])
def test_a_job_of_slurm_takes_nobodys_place(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed, "require_tool", lambda *_: None)
    monkeypatch.setattr(deployed, "run_tool", lambda *_, **__: pytest.fail("it was sent"))
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / name).write_bytes(b"precious")
    (tmp_path / "run.yaml").write_text(
        "{dataset: d, directory: r, model: {num_layers: 1}, train: {steps: 4}}", encoding="utf-8"
    )
    before = contents(tmp_path)
    job = Job("bert", slurm=SlurmSettings(folder=str(tmp_path)))
    with pytest.raises(InputError, match=name):
        deployed.start(job, deployed.command(job, ["train", str(tmp_path / "run.yaml")], LINE))
    assert contents(tmp_path) == before
