"""The page of a workflow: how each step stands, how long it took, its settings, where its output, log and report are."""

import html
import posixpath
from collections.abc import Sequence
from urllib.parse import quote

import yaml

from clozekit.deploy.workflow.run_steps import DONE, FAILED, SKIPPED, StepState
from clozekit.deploy.workflow.step_record import read_record
from clozekit.deploy.workflow.workflow_file import Workflow
from clozekit.model.training.reports.report_page import Card, Section, folded, render_page
from clozekit.tokenizers.storage.file_systems import open_file_system

REPORT_FILE = "report.html"
_SHOWN_DIGITS = 12


def render_workflow(workflow: Workflow, states: Sequence[StepState]) -> str:
    """The page as HTML, whose links hold while it lies in the workflow's folder."""
    whole = [state for state in states if state.phase in (DONE, SKIPPED)]
    seconds = sum(_effort(state)[0] for state in whole)
    failed = [state for state in states if state.phase == FAILED]
    tiles = [
        ("steps done", f"{len(whole)} of {len(states)}"),
        ("done in this run", str(sum(state.phase == DONE for state in states))),
        ("unchanged", str(sum(state.phase == SKIPPED for state in states))),
        ("time of all steps", _duration(seconds)),
    ]
    summary = f"step {failed[0].planned.name} failed" if failed else "all steps are done"
    if not failed and len(whole) < len(states):
        summary = "not all steps are done"
    return render_page(
        f"Workflow {workflow.source}",
        f"{summary}; run the same command again to go on" if len(whole) < len(states) else summary,
        tiles,
        [
            Section("Steps", [Card("", _table(workflow, states))]),
            Section("Settings of the steps", [_settings(state, _name(state, states)) for state in states]),
        ],
        f"folder {workflow.output}",
    )


def _effort(state: StepState) -> tuple[float, int]:
    record = read_record(state.planned.folder)
    return (state.seconds, state.restarts) if record is None else (record.seconds, record.starts)


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}"


def _table(workflow: Workflow, states: Sequence[StepState]) -> str:
    head = ("step", "command", "state", "time", "starts", "after", "output, log and report")
    rows = []
    for state in states:
        planned = state.planned
        seconds, starts = _effort(state)
        cells = [_name(state, states), planned.step.verb, state.phase, _duration(seconds), str(starts)]
        cells.append(", ".join(planned.step.before))
        shown = [html.escape(cell) for cell in cells] + [_links(workflow, state)]
        rows.append("".join(f"<td>{cell}</td>" for cell in shown))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr>{body}</table></div>'


def _links(workflow: Workflow, state: StepState) -> str:
    place = state.planned.place
    reports = [] if place is None else [posixpath.join(place, "report.html")]
    found = [
        (name, path)
        for name, path in (("output", place), ("log", state.log), *(("report", path) for path in reports))
        if path is not None and _exists(path)
    ]
    return " · ".join(_link(workflow, name, path) for name, path in found) or html.escape(state.last)


def _exists(path: str) -> bool:
    filesystem, name = open_file_system(path)
    return bool(filesystem.exists(name))


def _link(workflow: Workflow, name: str, path: str) -> str:
    if path.startswith(f"{workflow.output}/"):
        target = quote(path.removeprefix(f"{workflow.output}/"))
        return f'<a href="{html.escape(target)}">{name}</a>'
    return f"{name} {html.escape(path)}"


def _name(state: StepState, states: Sequence[StepState]) -> str:
    """What a step is called: that of a trial of a sweep by its folder, since all trials have one of that name."""
    names = [one.planned.name for one in states]
    return state.planned.key if names.count(state.planned.name) > 1 else state.planned.name


def _settings(state: StepState, name: str) -> Card:
    planned = state.planned
    text = yaml.safe_dump(planned.block, sort_keys=False, allow_unicode=True)
    said = f"fingerprint {planned.fingerprint[:_SHOWN_DIGITS]}"
    if state.phase == FAILED and state.last:
        said = f"{said}; {state.last}"
    return Card(f"{name} ({planned.step.verb})", folded("settings", text), html.escape(said))
