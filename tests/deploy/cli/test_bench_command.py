"""`clozekit bench` on a short text: figures beside the page's, JSON, refusals; and nothing stays, however it ends."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from forked_python import ForkedPython

from clozekit.deploy.bench.bench_parts import MEASURES, PARTS
from clozekit.deploy.cli.main import main

# The learning of vocabularies is measured of what the tokenizers are made with.
MEASURED_PARTS = [part for part in PARTS if part != "vocabulary"]


@pytest.mark.slow
def test_parts_are_measured_and_the_folder_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path /= "a #: folder"
    tmp_path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # What is measured in one turn is measured in three.
    monkeypatch.setattr("clozekit.deploy.bench.timing._LEAST_TURNS", 1)
    # Of the training, which is a process of its own.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = [word for part in MEASURED_PARTS for word in ("--only", part)]
    assert main(["bench", "--seconds", "1", *words, "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    wanted = [measure.name for measure in MEASURES if measure.part in MEASURED_PARTS]
    assert [figure["name"] for figure in answer["figures"]] == wanted
    assert all(figure["value"] > 0 and figure["times_as_fast"] > 0 for figure in answer["figures"])
    assert "a training step" in said.err
    assert "measures a short text, which no page compares with" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, number: signal.Signals, status: int) -> None:
    work = tmp_path / "work"
    work.mkdir()
    errors = tmp_path / "errors"
    words = ("-m", "clozekit.deploy.cli", "bench", "--seconds", "1000", "--only", "step")
    process = ForkedPython(words, {**os.environ, "TMPDIR": str(work)}, tmp_path / "output", errors)
    try:
        # Its training has begun.
        while not list(work.glob("clozekit-bench-*/run/config.yaml")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=60) == status
    finally:
        process.kill()
    assert errors.read_text(encoding="utf-8").startswith("clozekit bench: ")
    assert [path for path in work.iterdir() if "bench" in path.name] == []


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
