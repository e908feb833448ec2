"""`clozekit run`: claims the folder of a workflow, keeps others out of it, and does what of its plan is not done."""

import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from clozekit.deploy.workflow.input_content import ContentHashes
from clozekit.deploy.workflow.plan_steps import HASHES_FILE, STATE_FILE, PlannedStep, WordsOf, plan
from clozekit.deploy.workflow.run_steps import SKIPPED, WAITING, StepRunner, StepState
from clozekit.deploy.workflow.workflow_file import Workflow
from clozekit.deploy.workflow.workflow_report import REPORT_FILE, render_workflow
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.directory_locks import LOCK_FILE, locked
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, write_text
from clozekit.tokenizers.storage.leases import Lease
from clozekit.tokenizers.storage.owned_files import Owned, check_free, read_owned, write_owned
from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

_CHOOSE = "choose another `output`"
_OWN = (STATE_FILE, HASHES_FILE, REPORT_FILE)


def look(workflow: Workflow, until: str | None, words_of: WordsOf) -> list[PlannedStep]:
    """The plan, of which nothing is done. Raises InputError for whatever is wrong with it; nothing is written but, in a folder that
    is the workflow's own, the hashes of files that were read."""
    check_stores(workflow)
    return plan(workflow, until, hashes_of(workflow, keeps=is_ours(workflow)), words_of)


def run_workflow(
    workflow: Workflow,
    until: str | None,
    words_of: WordsOf,
    tell: Callable[[Sequence[StepState]], None],
    keep_going: bool = False,
) -> list[StepState]:
    """Does what is not done, and returns how all steps stand. Raises InputError where another leader is at work in the folder or it
    is somebody else's, StepFailedError where a step failed."""
    check_stores(workflow)
    hashes = hashes_of(workflow, keeps=False)
    plan(workflow, until, hashes, words_of)
    with claimed(workflow, hashes):
        # Under the lock: what another leader has done meanwhile is done.
        steps = plan(workflow, until, hashes, words_of)
        runner = StepRunner(workflow, steps, hashes, tell, keep_going)
        try:
            runner.run()
        finally:
            write_report(workflow, runner.states)
        return runner.states


def run_one_step(
    workflow: Workflow, name: str, words_of: WordsOf, tell: Callable[[Sequence[StepState]], None]
) -> list[StepState]:
    """Does one step if it is not done, of which others may be done by other processes at the same time; returns how it and those
    that it needs stand. Raises InputError where one of these is not done, else as `run_workflow`."""
    output = workflow.output
    check_stores(workflow)
    hashes = hashes_of(workflow, keeps=False)
    steps = plan(workflow, name, hashes, words_of)
    for one in steps[:-1]:
        if not one.is_done:
            raise InputError(
                f"--only does a step when those that it needs are done, {name} needs {one.name}, which is not: {one.reason};"
                f" run that first, or run with --until {name}"
            )
    check_free("a workflow", output, _OWN, _CHOOSE)
    _claim(output, _OWN)
    hashes.keeps = True
    # No lock of the folder: the process of a step holds that of its step, or a lease.
    runner = StepRunner(workflow, steps, hashes, tell)
    try:
        runner.run()
    finally:
        ended = {state.planned.name: state for state in runner.states}
        everything = [
            ended.get(one.name) or StepState(one, SKIPPED if one.is_done else WAITING)
            for one in plan(workflow, None, hashes, words_of)
        ]
        write_report(workflow, everything)
    return runner.states


@contextmanager
def claimed(workflow: Workflow, hashes: ContentHashes, *names: str) -> Iterator[None]:
    """While entered, the folder of a workflow is this leader's alone, and hashes are kept there. names: of files that it writes
    there beside those of every workflow."""
    output, written = workflow.output, (*_OWN, *names)
    check_free("a workflow", output, written, _CHOOSE)
    with ExitStack() as held:
        _keep_others_out(held, output)
        _claim(output, written)
        hashes.keeps = True
        yield


def write_report(workflow: Workflow, states: Sequence[StepState]) -> None:
    write_text(posixpath.join(workflow.output, REPORT_FILE), render_workflow(workflow, states))


def check_stores(workflow: Workflow) -> None:
    """Raises what a store says when it can't be asked: later questions, whether a file is there, take that for a no."""
    output = workflow.output
    check_reachable(urls_in([output, *(step.block for step in workflow.steps.values())]))
    filesystem, root = open_file_system(output)
    if not is_local(filesystem):
        with suppress(FileNotFoundError):
            filesystem.ls(root)


def _claim(output: str, written: Sequence[str]) -> None:
    """Notes that the folder, and what a workflow writes into it, is ours."""
    before = read_owned(output)
    ours = frozenset() if before is None or before.made_by != "run" else before.names
    write_owned(output, Owned("run", ours | frozenset(written)))


def is_ours(workflow: Workflow) -> bool:
    owned = read_owned(workflow.output)
    return owned is not None and owned.made_by == "run"


def hashes_of(workflow: Workflow, keeps: bool) -> ContentHashes:
    return ContentHashes(posixpath.join(workflow.output, HASHES_FILE), keeps)


def _keep_others_out(held: ExitStack, output: str) -> None:
    refusal = (
        f"one `clozekit run` at a time leads the steps of a folder, another one is at work in {output}; wait for it, or choose"
        " another `output`"
    )
    path = posixpath.join(output, LOCK_FILE)
    filesystem, name = open_file_system(path)
    if not is_local(filesystem):
        held.enter_context(Lease(f"{path}.json", output, refusal))
        return
    try:
        held.enter_context(locked(name))
    except BlockingIOError as error:
        raise InputError(refusal) from error
