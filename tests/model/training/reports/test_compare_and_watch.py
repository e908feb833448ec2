"""Runs from outside: compared in numbers and on a page, watched while they run, stop, are killed, finish."""

import contextlib
import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from run_commands import run_command

from clozekit.deploy.cli.main import main
from clozekit.model.training.reports.compare_runs import compared, course, curve, differences, duration
from clozekit.model.training.reports.watch_screen import hangs, screen, spark, verdict
from clozekit.model.training.run_directory.run_lock import lock_run
from clozekit.model.training.run_directory.run_state import RunState, read_run
from clozekit.tokenizers.common.errors import InputError

CONFIG = "dataset: data\ndirectory: {name}\nname: {name}\ntrain: {{steps: 40}}\noptimizer: {{learning_rate: {rate}}}\n"


def entries_of(losses: list[float], price: float | None = None) -> list[dict[str, Any]]:
    """A look every 10 steps of half a second, 100 tokens each, and an evaluation after each, 1 above the training loss."""
    log: list[dict[str, Any]] = []
    for number, loss in enumerate(losses, start=1):
        step = 10 * number
        entry = {"kind": "train", "step": step, "loss": loss, "step_seconds": 0.5, "tokens_seen": 100 * step}
        cost = {} if price is None else {"cost": price * number}
        log += [
            {**entry, "tokens_per_second": 200.0, "learning_rate": 1e-3, **cost},
            {"kind": "validation", "step": step, "loss": loss + 1, "accuracy": 1 / (loss + 1)},
        ]
    return log


def write_run(folder: Path, log: list[dict[str, Any]], rate: float = 1e-3, config: str = CONFIG) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(config.format(name=folder.name, rate=rate), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log), encoding="utf-8")
    return folder


def finish(folder: Path) -> None:
    (folder / "preset").mkdir()
    (folder / "preset" / "config.json").write_text("{}", encoding="utf-8")


def test_runs_compare_in_numbers(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", entries_of([4.0, 3.0, 2.0, 2.5], price=1.5))
    b = write_run(tmp_path / "b", entries_of([5.0, 4.5]), rate=0.01)
    finish(a)
    runs = [read_run(str(a)), read_run(f"{b}/")]
    first, second = compared(runs, loss=4.0)
    assert (first.name, first.state, first.end.step, first.end.tokens, first.end.seconds) == (
        "a",
        "finished",
        40,
        4000,
        20.0,
    )
    assert (first.final_loss, first.best_loss, first.best_step, first.tokens_per_second) == (3.5, 3.0, 30, 200.0)
    assert first.reached is not None and first.end.cost == 6.0
    assert (first.reached.step, first.reached.tokens, first.reached.seconds, first.reached.cost) == (
        20,
        2000,
        10.0,
        3.0,
    )
    assert (second.state, second.final_loss, second.reached, second.end.cost) == ("killed", 5.5, None, None)
    # What says where things stand is no difference.
    assert differences(runs) == {"optimizer.learning_rate": ["0.001", "0.01"]}
    assert curve(runs[1], "validation", "loss", "hours") == ([5 / 3600, 10 / 3600], [6.0, 5.5])
    assert curve(runs[1], "train", "loss", "tokens") == ([1000.0, 2000.0], [5.0, 4.5])


def test_the_command_shows_a_table_a_page_and_json(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", entries_of([4.0, 3.0])), write_run(tmp_path / "b", entries_of([5.0]), rate=0.01)
    page = tmp_path / "page.html"
    words = ["compare", str(a), str(b), "--loss", "4.5", "--page", str(page)]
    shown = run_command(words)
    assert re.search(r"^best validation loss +4\.0000 +6\.0000$", shown, re.MULTILINE)
    assert re.search(r"^tokens to loss 4\.5 +2,000 +not reached$", shown, re.MULTILINE)
    assert re.search(r"^optimizer\.learning_rate +0\.001 +0\.01$", shown, re.MULTILINE)
    assert "cost" not in shown
    html = page.read_text(encoding="utf-8")
    assert [html.count(f"by {over}</h3>") for over in ("step", "tokens", "hours of training")] == [4, 2, 2]
    # It replaces its own page, and nothing else.
    answer = json.loads(run_command([*words, "--json"]))
    assert list(answer) == ["runs", "settings", "page"] and answer["runs"][0]["reached"]["tokens"] == 2000
    assert answer["settings"] == {"optimizer.learning_rate": {"a": "0.001", "b": "0.01"}}
    page.write_text("my own notes", encoding="utf-8")
    assert main(words) == 2 and page.read_text(encoding="utf-8") == "my own notes"


def test_many_runs_have_a_line_each_and_curves_that_differ(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / f"r{number}", entries_of([4.0]), rate=number)) for number in range(10)]
    page = tmp_path / "page.html"
    run_command(["compare", *runs, "--page", str(page)])
    html = page.read_text(encoding="utf-8")
    keys = re.findall(r'<tr><td style="white-space: nowrap"><span class="key" style="([^"]*)"></span>(r\d)</td>', html)
    assert [name for _, name in keys] == [f"r{number}" for number in range(10)]
    # There are eight colors.
    assert len({style for style, _ in keys}) == 10
    assert [("dashed" in style) for style, _ in keys] == [False] * 8 + [True] * 2
    # The legend would lie over the curves.
    assert "legend" not in html


def test_what_does_not_compare_is_refused(tmp_path: Path) -> None:
    pretraining = read_run(str(write_run(tmp_path / "a", entries_of([4.0]))))
    other = "init_from: p\ndirectory: {name}\ntask: regression\ndata: {{train: x.tsv}}\n"
    tuned = read_run(str(write_run(tmp_path / "b", entries_of([4.0]), config=other)))
    with pytest.raises(InputError, match="only runs of one kind compare, .*a a pretraining, .*b a fine-tuning"):
        compared([pretraining, tuned])
    with pytest.raises(InputError, match="of two runs or more, got 1"):
        compared([pretraining])
    with pytest.raises(InputError, match="no config.yaml; name the `directory`"):
        read_run(str(tmp_path))
    again = read_run(
        str(write_run(tmp_path / "c", entries_of([4.0]), config=CONFIG.replace("name: {name}\n", "name: a\n")))
    )
    # Two of one name are told apart by their directories.
    assert [one.name for one in compared([pretraining, again])] == [str(tmp_path / "a"), str(tmp_path / "c")]


def test_a_run_is_running_while_its_lock_is_held_and_nobody_takes_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", entries_of([4.0]))
    with lock_run(str(folder), str(folder / "preset")):
        assert read_run(str(folder)).state == "running"
    assert read_run(str(folder)).state == "killed"
    # A lock that a killed process left is not held.
    (folder / "_lock").write_bytes(b"a lock of Clozekit's\n")
    assert read_run(str(folder)).state == "killed"


def state_of(log: list[dict[str, Any]], state: str, **more: Any) -> RunState:
    fields = {"config": {"train": {"steps": 40}}, "saved_step": None, "silent_seconds": 1.0, **more}
    return RunState("runs/a", "train", entries=tuple(log), state=state, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "more", "said"),
    [
        ("running", {}, "running"),
        ("running", {"silent_seconds": 299.0}, "running"),
        (
            "running",
            {"silent_seconds": 301.0},
            "at work, but silent for 5 min 1 s, where a line comes every 5.0 s: it may hang",
        ),
        ("finished", {}, "finished at step 20"),
        ("stopped", {"saved_step": 20}, "stopped at step 20, all is saved; run the same command again"),
        (
            "killed",
            {"saved_step": 10},
            "ended at step 20 by an error or a kill, .*; its last checkpoint is of step 10; run",
        ),
        ("killed", {}, "it had saved nothing yet"),
    ],
)
def test_a_verdict_says_what_to_do(state: str, more: dict[str, Any], said: str) -> None:
    run = state_of(entries_of([4.0, 3.0]), state, **more)
    assert re.search(said, verdict(run))
    assert hangs(run) == ("hang" in said)


def test_the_screen_says_how_far_it_is() -> None:
    lines = screen(state_of(entries_of([4.0, 3.0]), "running", saved_step=10), width=80)
    assert lines[0].startswith("a  runs/a") and lines[1] == "running"
    assert "[##########..........] 50.0%  step 20 of 40, 2,000 tokens in 10.0 s, 10.0 s left" in lines
    assert any("4.000 to 3.000" in line for line in lines)
    assert "validation   step 20: loss 4.0000, accuracy 0.2500  lowest so far" in lines
    assert lines[-1] == "checkpoint   step 10"
    assert screen(state_of([], "running")) == [
        "a  runs/a",
        "at work, no step is logged yet: the first one compiles",
        "",
    ]
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█" and len(spark(list(range(1000)), 30)) <= 30
    assert [duration(seconds) for seconds in (41.52, 723, 12_000)] == ["41.5 s", "12 min 3 s", "3 h 20 min"]
    assert course(state_of([], "running")) == []


class Screen(io.StringIO):
    """Tells when a text was printed on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text, self.shown = text, threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        if self._text in self.getvalue():
            self.shown.set()
        return count


@pytest.mark.parametrize("is_terminal", [False, True])
def test_watch_follows_a_run_to_its_end(tmp_path: Path, is_terminal: bool) -> None:
    folder = write_run(tmp_path / "a", entries_of([4.0]))
    shown = Screen("step 10: loss 4.0000")
    shown.isatty = lambda: is_terminal  # type: ignore[method-assign]
    begun = threading.Event()

    def train() -> None:
        with lock_run(str(folder), str(folder / "preset")):
            begun.set()
            assert shown.shown.wait(60)
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write("".join(json.dumps(entry) + "\n" for entry in entries_of([4.0, 3.0])[2:]))
            finish(folder)

    thread = threading.Thread(target=train)
    thread.start()
    assert begun.wait(60)
    with contextlib.redirect_stdout(shown):
        status = main(["watch", str(folder), "--every", "0.1"])
    thread.join()
    text = shown.getvalue()
    assert status == 0 and "finished at step 20" in text
    if is_terminal:
        assert text.count("\x1b[2J") >= 2
    else:
        lines = [line.split(":")[0] for line in text.splitlines()]
        assert lines == ["step 10", "step 10", "step 20", "step 20", "finished at step 20"]


def test_watch_says_the_last_step_of_a_fine_tuning_in_epochs(tmp_path: Path) -> None:
    config = "init_from: p\ndirectory: {name}\ndata: {{train: x.tsv}}\ntrain: {{epochs: 3.0}}\n"
    length = {"kind": "length", "step": 0, "last_step": 40}
    folder = write_run(tmp_path / "a", [length, *entries_of([4.0, 3.0])], config=config)
    shown = run_command(["watch", str(folder), "--once"])
    assert "50.0%  step 20 of 40, " in shown and "by an error or a kill" in shown
    screen_of_a_log = io.StringIO()
    with contextlib.redirect_stdout(screen_of_a_log):
        assert main(["watch", str(folder)]) == 1
    assert [line.split(":")[0] for line in screen_of_a_log.getvalue().splitlines()] == [
        "length",
        *["step 10"] * 2,
        *["step 20"] * 2,
    ]


def test_watch_of_a_run_that_was_killed_fails_and_shows_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "a", entries_of([4.0]))
    assert main(["watch", str(folder)]) == 1
    assert "clozekit watch: ended at step 10 by an error or a kill" in capsys.readouterr().err
    assert "by an error or a kill" in run_command(["watch", str(folder), "--once"])
    answer = json.loads(run_command(["watch", str(folder), "--json"]))
    assert (answer["state"], answer["step"], answer["last_step"], answer["saved_step"]) == ("killed", 10, 40, None)
    assert answer["latest"]["validation"]["loss"] == 5.0 and answer["verdict"].startswith("ended at step 10")
    assert main(["watch", str(tmp_path), "--once"]) == 2
    assert main(["watch", str(folder), "--every", "0"]) == 2
