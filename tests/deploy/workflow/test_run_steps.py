"""Steps as they run: in order, side by side where there is room, to one clear line where one fails, on after any kill."""

import copy
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked_python import ForkedPython
from processes import Child
from workflows import RECIPE, journal, look_at, run

from clozekit.deploy.workflow.run_steps import StepFailedError, StepState
from clozekit.deploy.workflow.workflow_file import load_workflow
from clozekit.deploy.workflow.workflow_report import render_workflow
from clozekit.tokenizers.common.cores_here import cores_here
from clozekit.tokenizers.common.errors import InputError

LIMIT_SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "0.txt").write_text("a document")
    (tmp_path / "more.txt").write_text("one\tmore")
    (tmp_path / "own_loss.py").write_text("def own():\n    pass\n")
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> None:
    recipe = {**copy.deepcopy(RECIPE), **changes}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


def with_needs(cores: int, *names: str) -> dict[str, Any]:
    steps = copy.deepcopy(RECIPE["steps"])
    for name in names:
        steps[name]["needs"] = {"cores": cores}
    return steps


def wait_until(holds: Any) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class Watcher:
    """Remembers which steps ran at the same time, and can do something when one is seen."""

    def __init__(self) -> None:
        self.together: set[frozenset[str]] = set()

    def __call__(self, states: Sequence[StepState]) -> None:
        self.together.add(frozenset(state.planned.name for state in states if state.phase == "running"))


def test_steps_run_in_their_order_one_at_a_time_where_none_says_what_it_needs(folder: Path) -> None:
    watcher = Watcher()
    states = run(folder, tell=watcher)
    assert [line.split()[:2] for line in journal(folder)] == [
        [what, name] for name in ("words", "data", "model", "score", "labels", "check") for what in ("begun", "ended")
    ]
    assert max(map(len, watcher.together)) == 1
    assert all(state.log and Path(folder, state.log).read_text().endswith("works\n") for state in states)
    assert (folder / "out" / "report.html").read_text().count("<tr>") == 7


def test_steps_of_one_name_are_told_apart_on_the_page(folder: Path) -> None:
    states = [StepState(look_at(folder, f"words.vocabulary_size={size}")[0], "done") for size in (300, 400)]
    page = render_workflow(load_workflow(str(folder / "recipe.yaml")), states)
    assert all(page.count(f"{state.planned.key} (vocab)") == 1 for state in states)


@pytest.mark.skipif(cores_here() < 2, reason="two steps side by side need two cores")
def test_steps_that_need_less_run_side_by_side_on_cores_of_their_own(folder: Path) -> None:
    write(folder, steps=with_needs(1, "score", "labels"), limits={"cores": 2})
    wait = {"until": str(folder / "go")}
    watcher = Watcher()

    def tell(states: Sequence[StepState]) -> None:
        watcher(states)
        if {"score", "labels"} in watcher.together:
            (folder / "go").touch()

    run(folder, orders={"score": wait, "labels": wait}, tell=tell)
    assert {"score", "labels"} in watcher.together
    cores = {line.split()[1]: line.split()[2:] for line in journal(folder) if line.startswith("begun")}
    mine = sorted(os.sched_getaffinity(0))
    assert [cores["score"], cores["labels"]] == [[str(mine[0])], [str(mine[1])]]


def test_memory_limits_what_runs_side_by_side(folder: Path) -> None:
    steps = with_needs(1, "score", "labels")
    for name in ("score", "labels"):
        steps[name]["needs"]["memory_gb"] = 5
    write(folder, steps=steps, limits={"cores": 2, "memory_gb": 8})
    watcher = Watcher()
    run(folder, tell=watcher)
    assert max(map(len, watcher.together)) == 1


def test_a_failure_is_one_line_with_the_reason_the_log_and_the_way_on(folder: Path) -> None:
    fails = {"model": {"status": 2, "says": "the loss must be a number, it is nan"}}
    with pytest.raises(StepFailedError) as error:
        run(folder, orders=fails)
    (log,) = folder.glob("out/steps/model-*/log.txt")
    assert str(error.value) == (
        "step model (train) failed with status 2: the loss must be a number, it is nan; its log is"
        f" {log.relative_to(folder)}; mend what is wrong and run the same command again"
    )
    assert error.value.exit_status == 2
    # What does not need it is not begun either; what was done stays done.
    assert [one.is_done for one in look_at(folder)] == [True, True, False, False, False, False]
    assert "step model failed" in (folder / "out" / "report.html").read_text()
    assert [state.phase for state in run(folder)] == ["skipped"] * 2 + ["done"] * 4


def test_keep_going_does_what_does_not_need_the_step_that_failed(folder: Path) -> None:
    with pytest.raises(StepFailedError):
        run(folder, orders={"score": {"status": 1, "says": "no"}}, keep_going=True)
    assert [one.name for one in look_at(folder) if not one.is_done] == ["score"]


def test_a_step_that_a_scheduler_stopped_is_begun_again(folder: Path) -> None:
    states = run(folder, orders={"model": {"status": 75, "once": str(folder / "stopped")}})
    assert [state.phase for state in states] == ["done"] * 6
    assert states[2].restarts == 1
    record = json.loads(next(folder.glob("out/steps/model-*/step.json")).read_text())
    assert record["starts"] == 2


def test_a_command_that_ends_well_and_writes_nothing_has_failed(folder: Path) -> None:
    with pytest.raises(StepFailedError, match="its command ended well, and .*/run/preset is not there"):
        run(folder, orders={"model": {"writes": False}})


def test_until_runs_what_a_step_needs_and_no_more(folder: Path) -> None:
    assert [state.planned.name for state in run(folder, until="data")] == ["words", "data"]


def test_somebody_elses_files_are_not_touched(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "report.html").write_text("mine")
    with pytest.raises(
        InputError, match="a workflow goes into a folder of its own, out holds what Clozekit did not write"
    ):
        run(folder)
    assert journal(folder) == []
    assert (folder / "out" / "report.html").read_text() == "mine"


def test_two_leaders_do_not_lead_one_folder(folder: Path) -> None:
    found = []

    def second(states: Sequence[StepState]) -> None:
        if not found and states[0].phase == "running":
            try:
                # Were it let in, both would come to an end.
                run(folder, tell=lambda states: (folder / "go").touch())
            except InputError as error:
                found.append(str(error))
            finally:
                (folder / "go").touch()

    run(folder, orders={"words": {"until": str(folder / "go")}}, tell=second)
    assert found[0].startswith(
        "one `clozekit run` at a time leads the steps of a folder, another one is at work in out;"
    )


LEADER = """
import json
import sys
from pathlib import Path
from workflows import run
from clozekit.deploy.workflow.run_steps import WorkflowStoppedError
try:
    run(Path(sys.argv[1]), orders=json.loads(sys.argv[2]))
except WorkflowStoppedError as error:
    print(error)
    sys.exit(error.exit_status)
"""


@pytest.fixture
def leaders() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for one in started:
        one.kill()


def leader(folder: Path, orders: dict[str, Any], started: list[Child]) -> Child:
    output = folder / "leader.txt"
    words = ("-c", LEADER, str(folder), json.dumps(orders))
    process = Child(ForkedPython(words, os.environ, output, folder / "errors.txt"), output)
    started.append(process)
    return process


@pytest.mark.parametrize("name", ["words", "data", "model", "score", "labels", "check"])
def test_a_leader_killed_at_any_step_leaves_no_process_and_the_next_one_goes_on(
    name: str, folder: Path, leaders: list[Child]
) -> None:
    process = leader(folder, {name: {"until": str(folder / "go")}}, leaders)
    wait_until(lambda: any(line.startswith(f"begun {name}") for line in journal(folder)))
    process.kill()
    # Its step is told by the end of the pipe, and stops.
    wait_until(lambda: f"stopped {name}" in journal(folder))
    done = [line.split()[1] for line in journal(folder) if line.startswith("ended")]
    states = run(folder)
    assert [state.planned.name for state in states if state.phase == "skipped"] == done
    assert not [line for line in journal(folder) if line == f"ended {done[-1] if done else ''}"][1:]
    whole = {path.relative_to(folder): path.read_bytes() for path in folder.glob("out/steps/*/*/**/content.txt")}
    peace = folder / "peace"
    peace.mkdir()
    for one in ("docs", "more.txt", "own_loss.py", "recipe.yaml"):
        (peace / one).symlink_to(folder / one)
    run(peace)
    assert whole == {path.relative_to(peace): path.read_bytes() for path in peace.glob("out/steps/*/*/**/content.txt")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_leader_that_is_told_to_stop_stops_its_steps_and_says_how_far_it_is(
    number: signal.Signals, folder: Path, leaders: list[Child]
) -> None:
    process = leader(folder, {"model": {"until": str(folder / "go")}}, leaders)
    wait_until(lambda: any(line.startswith("begun model") for line in journal(folder)))
    process.process.send_signal(number)
    assert process.ended() == 75
    assert process.output() == f"stopped by {number.name}, 2 of 6 steps are done; run it again to resume\n"
    assert "stopped model" in journal(folder)
    assert "not all steps are done" in (folder / "out" / "report.html").read_text()


def test_a_step_whose_process_outlives_its_leader_is_waited_for(folder: Path, leaders: list[Child]) -> None:
    """The process holds the lock of its step until it ends, however long it takes to save."""
    process = leader(folder, {"words": {"until": str(folder / "go"), "saves": str(folder / "saved")}}, leaders)
    wait_until(lambda: any(line.startswith("begun words") for line in journal(folder)))
    process.kill()
    seen = set()

    def tell(states: Sequence[StepState]) -> None:
        seen.add((states[0].phase, states[0].last))
        if states[0].phase == "waiting" and states[0].last:
            (folder / "saved").touch()

    states = run(folder, tell=tell)
    assert ("waiting", "another process is at work on it, and has not ended yet") in seen
    assert [state.phase for state in states] == ["done"] * 6
    # It is begun when the other one is gone.
    assert journal(folder)[:3] == [journal(folder)[0], "stopped words", journal(folder)[2]]
    assert journal(folder)[2].startswith("begun words")
