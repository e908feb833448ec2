"""`clozekit run` of a recipe with a sweep: its plan, and its trials with what comes behind them, led to their end."""

from collections.abc import Callable, Sequence

from clozekit.deploy.workflow.plan_steps import WordsOf
from clozekit.deploy.workflow.run_steps import StepRunner, StepState
from clozekit.deploy.workflow.run_workflow import check_stores, claimed, hashes_of, is_ours, write_report
from clozekit.deploy.workflow.sweeps.plan_sweep import PAGE_FILE, SWEEP_FILE, SweepPlan
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Sweep
from clozekit.deploy.workflow.sweeps.sweep_leader import SweepLeader
from clozekit.deploy.workflow.workflow_file import Workflow
from clozekit.tokenizers.settings.settings_files import check


def has_sweep(workflow: Workflow, until: str | None) -> bool:
    """Whether what `until` needs is a sweep. Raises InputError for a step that each trial has of its own."""
    sweep = workflow.sweep
    if sweep is None:
        return False
    if any(step.name == sweep.measured for step in workflow.needed_for(until)):
        return True
    rule = f"--until must be {sweep.measured}, which the sweep measures, a step behind it, or one that is the same in all trials"
    check(rule, until not in sweep.varied, until)
    return False


def look_at_sweep(workflow: Workflow, sweep: Sweep, until: str | None, words_of: WordsOf) -> SweepPlan:
    """The trials of a sweep and their plans, of which nothing is done; as `look`."""
    check_stores(workflow)
    return SweepPlan(workflow, sweep, until, hashes_of(workflow, keeps=is_ours(workflow)), words_of)


def run_sweep(
    workflow: Workflow,
    sweep: Sweep,
    until: str | None,
    words_of: WordsOf,
    tell: Callable[[SweepLeader, Sequence[StepState]], None],
) -> tuple[SweepLeader, list[StepState]]:
    """Runs the trials that are not done and what comes behind them; the first says what came of it, failures too. Raises InputError
    as `run_workflow`."""
    check_stores(workflow)
    hashes = hashes_of(workflow, keeps=False)
    SweepPlan(workflow, sweep, until, hashes, words_of)
    with claimed(workflow, hashes, SWEEP_FILE, PAGE_FILE):
        leader = SweepLeader(SweepPlan(workflow, sweep, until, hashes, words_of), tell)
        runner = StepRunner(workflow, [], hashes, leader.shown, keep_going=True, direct=leader.direct)
        leader.lead(runner)
        try:
            runner.work()
        finally:
            leader.save()
            write_report(workflow, runner.states)
        return leader, runner.states
