"""`clozekit run`: a recipe of several commands, of which it does what is not done, here or elsewhere."""

import argparse
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.exported_pipeline import FORMATS, check_options, export
from clozekit.deploy.cli.json_answer import JsonAnswer

if TYPE_CHECKING:
    from clozekit.deploy.workflow.plan_steps import PlannedStep, WordsOf
    from clozekit.deploy.workflow.run_steps import StepState
    from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Sweep
    from clozekit.deploy.workflow.workflow_file import Workflow

ANSWER = JsonAnswer(
    ("output", "sweep", "steps"), each=("step", "command", "phase", "seconds", "fingerprint", "output", "log")
)


def add(commands: Any) -> None:
    parser = command(
        commands,
        "run",
        "Run the steps of a recipe, from corpus to published model: what is done and unchanged is not done again; if"
        " interrupted, run it again to resume.",
        "clozekit run recipe.yaml --dry-run\n  clozekit run recipe.yaml train.optimizer.learning_rate=5e-4\n"
        "  clozekit run recipe.yaml --until train",
    )
    parser.add_argument(
        "recipe",
        metavar="RECIPE.YAML",
        help="a file, or a ready one (`clozekit recipes`): output, values, limits, steps",
    )
    parser.add_argument(
        "changes",
        nargs="*",
        metavar="KEY=VALUE",
        help="changes to the recipe: STEP.KEY=VALUE to the settings of a step's command, values.NAME=VALUE, output=FOLDER",
    )
    parser.set_defaults(rest="changes")
    parser.add_argument("--until", metavar="STEP", help="run this step and those it needs, and no other")
    parser.add_argument(
        "--only",
        metavar="STEP",
        help="run this step alone, those that it needs being done; several processes may each do one at a time",
    )
    parser.add_argument("--dry-run", action="store_true", help="run nothing: say which steps would run, and why")
    parser.add_argument(
        "--keep-going", action="store_true", help="where a step fails, still begin those that do not need it"
    )
    outside = parser.add_argument_group(
        "another orchestrator", "one task a step, which runs `clozekit run --only STEP`"
    )
    outside.add_argument(
        "--export",
        choices=FORMATS,
        help="run nothing: write the recipe for Kubeflow and Vertex AI Pipelines, or for Argo",
    )
    outside.add_argument("--to", metavar="FILE.YAML", help="what --export writes")
    outside.add_argument("--image", help="the container image of the tasks (default: that of a step's `where`)")
    outside.add_argument(
        "--volume",
        action="append",
        metavar="CLAIM=/PATH",
        help="a persistent volume claim that all tasks have at a path",
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.cli.step_screen import StepScreen
    from clozekit.deploy.cli.words_of_step import words_of_step
    from clozekit.deploy.workflow.run_steps import summary
    from clozekit.deploy.workflow.run_workflow import look, run_one_step, run_workflow
    from clozekit.deploy.workflow.sweeps.run_sweep import has_sweep
    from clozekit.deploy.workflow.workflow_file import load_workflow
    from clozekit.tokenizers.settings.settings_files import check

    check_options(arguments)
    workflow = load_workflow(arguments.recipe, arguments.changes, runs_here=arguments.export is None)
    # Before any store is asked.
    workflow.needed_for(arguments.only or arguments.until)
    words_of = functools.partial(words_of_step, arguments.parser, arguments.parse, arguments.export is None)
    if arguments.export is not None:
        rule = "--export writes the steps of a recipe, and those of a sweep are not known before it runs"
        check(rule, workflow.sweep is None, f"{arguments.recipe} with a sweep", advice="pass sweep=null")
        made = export(workflow, arguments, words_of)
        if arguments.json:
            rows = [
                {"step": one.step, "command": workflow.steps[one.step].verb, "phase": "exported"} for one in made.tasks
            ]
            ANSWER.show(output=workflow.output, sweep=None, steps=rows)
        else:
            print(f"{arguments.to}: {made.name}, {len(made.tasks)} tasks, output {workflow.output}")
        return
    if workflow.sweep is not None and has_sweep(workflow, arguments.only or arguments.until):
        rule = "--only is for a step that is the same in all trials of a sweep"
        check(rule, arguments.only is None, arguments.only, advice="leave it out, or pass sweep=null")
        _run_sweep(arguments, workflow, workflow.sweep, words_of)
        return
    if arguments.dry_run:
        _show_plan(workflow.output, look(workflow, arguments.only or arguments.until, words_of), arguments.json)
        return
    with StepScreen(sys.stderr) as screen:
        if arguments.only is not None:
            states = run_one_step(workflow, arguments.only, words_of, screen.show)
        else:
            states = run_workflow(workflow, arguments.until, words_of, screen.show, arguments.keep_going)
    if arguments.json:
        ANSWER.show(output=workflow.output, sweep=None, steps=summary(states))
        return
    _show_states(states)


def _run_sweep(arguments: argparse.Namespace, workflow: "Workflow", sweep: "Sweep", words_of: "WordsOf") -> None:
    from clozekit.deploy.cli.step_screen import StepScreen
    from clozekit.deploy.cli.sweep_tables import plan_facts, plan_lines, screen_rows, sweep_lines
    from clozekit.deploy.workflow.run_steps import summary
    from clozekit.deploy.workflow.sweeps.run_sweep import look_at_sweep, run_sweep

    if arguments.dry_run:
        made = look_at_sweep(workflow, sweep, arguments.until, words_of)
        shared, behind = made.shared(), made.behind()
        if arguments.json:
            rows = [*_plan_rows(shared), *_plan_rows(behind)]
            ANSWER.show(output=workflow.output, sweep=plan_facts(made), steps=rows)
            return
        print("\n".join([*_plan_lines(_plan_rows(shared)), *plan_lines(made)]))
        return
    with StepScreen(sys.stderr) as screen:
        leader, states = run_sweep(
            workflow,
            sweep,
            arguments.until,
            words_of,
            lambda leader, states: screen.show_rows(screen_rows(leader, states)),
        )
    result = leader.result()
    if arguments.json:
        ANSWER.show(output=workflow.output, sweep={**leader.facts(), "page": result.page}, steps=summary(states))
    else:
        print("\n".join(sweep_lines(leader, result)))
        _show_states([state for state in states if state.planned.name not in sweep.varied or state.is_noted])
    if result.failure is not None:
        raise result.failure


def _show_states(states: Sequence["StepState"]) -> None:
    width = max(len(state.planned.name) for state in states)
    for state in states:
        print(
            f"{state.planned.name:<{width}}  {state.phase:<7}  {state.planned.place or state.planned.block.get('target', '')}"
        )


def _plan_rows(steps: Sequence["PlannedStep"]) -> list[dict[str, Any]]:
    return [
        {
            "step": one.name,
            "command": one.step.verb,
            "phase": "done" if one.is_done else "resume" if one.is_begun else "run",
            "reason": one.reason,
            "fingerprint": one.fingerprint,
            "output": one.place,
        }
        for one in steps
    ]


def _plan_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    name, verb = (max((len(str(row[key])) for row in rows), default=0) for key in ("step", "command"))
    return [
        f"{row['step']:<{name}}  {row['command']:<{verb}}  {row['phase']:<6}  {row['reason']}".rstrip() for row in rows
    ]


def _show_plan(output: str, steps: Sequence["PlannedStep"], as_json: bool) -> None:
    rows = _plan_rows(steps)
    if as_json:
        ANSWER.show(output=output, sweep=None, steps=rows)
        return
    print("\n".join(_plan_lines(rows)))
    number = sum(row["phase"] != "done" for row in rows)
    print(f"{number} of {len(rows)} steps to run" if number else "all steps are done")
