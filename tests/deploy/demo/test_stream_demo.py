"""The streaming demo, in seconds: what is dropped is taken in, followed, and measured before it is trained on."""

import json
from pathlib import Path

import pytest

from clozekit.deploy.cli.main import main
from clozekit.deploy.demo import stream_demo

pytestmark = pytest.mark.slow

QUICKER = {
    "window_seconds: 15": "window_seconds: 2",
    "idle_seconds: 30": "idle_seconds: 6",
    "num_layers: 2, num_heads: 4, hidden_dim: 128, intermediate_dim: 512": "num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32",
    "steps: 100000,": "steps: 100000, xla: false,",
}


def quicker(text: str) -> str:
    for slow, quick in QUICKER.items():
        text = text.replace(slow, quick)
    return text


def test_text_is_dropped_taken_in_and_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def small_corpus(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [f"the {animal} number {number} sat on the mat" for number in range(300) for animal in ("cat", "dog")]
        path.write_text("".join(json.dumps({"id": text, "text": text}) + "\n" for text in texts))

    monkeypatch.setattr(stream_demo, "make_corpus", small_corpus)
    monkeypatch.setattr(stream_demo, "RECIPE", quicker(stream_demo.RECIPE))
    monkeypatch.setattr(stream_demo, "CONFIG", quicker(stream_demo.CONFIG))
    monkeypatch.setattr("clozekit.deploy.demo.run_demo.VOCABULARY_SIZE", 60)
    demo = tmp_path / "demo"
    assert main(["demo", "--stream", "--minutes", "0.1", "--directory", str(demo)]) == 0
    screen = capsys.readouterr().out
    assert "72 documents in" in screen and "0 problems" in screen
    assert "new rows before they were trained on" in screen
    assert "new windows, before they are trained on" in (demo / "run" / "report.html").read_text()
    # What is somebody's in its folder is left alone.
    (demo / "incoming" / "notes.txt").write_text("mine")
    assert main(["demo", "--stream", "--minutes", "0.1", "--directory", str(demo)]) == 2
    assert "holds what Clozekit did not write there: notes.txt" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--minutes", "1"], ["--stream", "--steps", "5"], ["--stream", "--minutes", "0"]])
def test_what_does_not_go_together_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["demo", "--directory", str(tmp_path / "demo"), *words]) == 2
    assert not (tmp_path / "demo").exists()
