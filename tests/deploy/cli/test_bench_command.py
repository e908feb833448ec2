"""`clozekit bench` on a short text: figures beside the page's, JSON, refusals; and nothing stays, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clozekit.deploy.bench.bench_parts import MEASURES
from clozekit.deploy.cli.main import main

COMMAND = [sys.executable, "-m", "clozekit.deploy.cli", "bench"]


def test_parts_of_text_are_measured_and_the_folder_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parts = ["disk", "tokenizers", "cleaning", "duplicates", "prepare"]
    words = [word for part in parts for word in ("--only", part)]
    assert main(["bench", "--seconds", "1", *words, "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    wanted = [measure.name for measure in MEASURES if measure.part in parts]
    assert [figure["name"] for figure in answer["figures"]] == wanted
    assert all(figure["value"] > 0 and figure["times_as_fast"] > 0 for figure in answer["figures"])
    assert "measures a short text, which no page compares with" in said.err
    assert list(tmp_path.iterdir()) == []


def test_start_step_and_reader_are_measured(tmp_path: Path) -> None:
    tmp_path /= "a #: folder"
    tmp_path.mkdir()
    words = ["--seconds", "1", "--only", "start", "--only", "step", "--only", "reader", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    wanted = [measure.name for measure in MEASURES if measure.part in ("start", "step", "reader")]
    assert [figure["name"] for figure in json.loads(done.stdout)["figures"]] == wanted
    assert "a training step" in done.stderr
    assert [path for path in tmp_path.iterdir() if "bench" in path.name] == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, number: signal.Signals, status: int) -> None:
    words = ["--seconds", "1000", "--only", "step"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        # Its training has begun.
        while not list(tmp_path.glob("clozekit-bench-*/run/config.yaml")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status
    assert said.decode().startswith("clozekit bench: ")
    assert [path for path in tmp_path.iterdir() if "bench" in path.name] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "0.5"], "--seconds must be at least 1, got 0.5; leave it out"),
        (["--seconds", "nan"], "must be"),
        (["--seconds", "many"], "invalid float value: 'many'"),
        (["--only", "cpu"], "invalid choice: 'cpu'"),
    ],
)
def test_what_is_wrong_with_options_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(["bench", *words])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert said in capsys.readouterr().err
