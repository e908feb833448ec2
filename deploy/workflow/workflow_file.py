"""The recipe of a workflow: its steps, each a command with its settings, what they refer to, where they run."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clozekit.deploy.recipes import FOLDERS, RUN, find_recipe
from clozekit.deploy.workflow.references import references_in, with_references
from clozekit.deploy.workflow.step_kinds import STEP_KINDS, StepKind
from clozekit.deploy.workflow.sweeps.rules.sweep_of_recipe import SEEDS, KnownSteps, make_sweep
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Sweep
from clozekit.model.training.settings.loop_settings import one_length
from clozekit.tokenizers.common.cores_here import cores_here
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, make_settings, nearest_key, read_mapping
from clozekit.tokenizers.settings.yaml_values import printable, shown

_KEYS = ("output", "values", "limits", "steps", "sweep")
_OF_A_STEP = ("from", "after", "needs", "options", "where")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
LOCAL = "local"


@dataclass(frozen=True)
class Room:
    """What of the machine there is for all steps together, or what one step takes. cores: of the processor; a step that does not say
    takes all of them. memory_gb: 10**9 bytes; not counted where it is not said."""

    cores: int | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        check("cores must be at least 1", self.cores is None or self.cores >= 1, self.cores)
        check("memory_gb must be above 0", self.memory_gb is None or self.memory_gb > 0, self.memory_gb)


@dataclass(frozen=True)
class Step:
    """One step of a recipe.

    name: in the recipe; verb: its command; block: what that command's own file or options say, with references. after: steps that
    come first though nothing refers to them. needs: what it takes of the machine. options: further words of the command, which change
    nothing of what it writes. where: the job spec, with `platform`, where it runs elsewhere; empty here.
    """

    name: str
    verb: str
    block: dict[str, Any]
    after: tuple[str, ...] = ()
    needs: Room = Room()
    options: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> StepKind:
        return STEP_KINDS[self.verb]

    @property
    def before(self) -> tuple[str, ...]:
        """The steps that come first: those it refers to, and those it names."""
        return tuple(dict.fromkeys([*(name.partition(".")[0] for name in references_in(self.block)), *self.after]))


@dataclass(frozen=True)
class Workflow:
    """A recipe as it was read: output: the folder of everything; steps: by name, each behind those that it needs; limits: of the
    machine; source: the file, in the words of an error; sweep: the settings it tries, None for none; recipe: its keys, with the
    changes in them."""

    output: str
    steps: Mapping[str, Step]
    limits: Room
    source: str
    sweep: Sweep | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, changes: Sequence[str]) -> "Workflow":
        """The recipe with further changes, and without its sweep: what one trial runs."""
        fields = {key: copy.deepcopy(value) for key, value in self.recipe.items() if key != "sweep"}
        return make_workflow(fields, changes, self.source)

    def needed_for(self, until: str | None) -> list[Step]:
        """The steps that `until` needs, itself last; all of them where it is None. Raises InputError for a step that is not
        there."""
        if until is None:
            return list(self.steps.values())
        check(f"--until and --only take a step, which are {', '.join(self.steps)}", until in self.steps, until)
        wanted, open_names = set(), [until]
        while open_names:
            name = open_names.pop()
            wanted.add(name)
            open_names += self.steps[name].before
        return [step for step in self.steps.values() if step.name in wanted]


def load_workflow(path: str, changes: Sequence[str] = (), runs_here: bool = True) -> Workflow:
    """The recipe in the YAML file at `path`, or the ready one of this name, with changes on top: "train.optimizer.learning_rate=1e-3"
    changes that key in the block of the step `train`; output, values.NAME, limits.KEY, steps.NAME.KEY and sweep.KEY those of the
    recipe. runs_here: a step may need no more cores than there are here.

    Raises InputError, one line that names the key, for all that can be wrong with it before a step has run.

    Example:

        >>> from pathlib import Path
        >>> from clozekit.deploy.workflow.workflow_file import load_workflow
        >>> _ = Path("two.yaml").write_text('''
        ... output: out
        ... steps:
        ...   model: {train: {dataset: "${data.output}", train: {steps: 10}}}
        ...   data: {prepare: {tokenizer: tiny/tokenizer, read: {inputs: [docs]}}}
        ... ''')
        >>> list(load_workflow("two.yaml", ["model.train.steps=20"]).steps)
        ['data', 'model']
    """
    fields = read_mapping(find_recipe(path, RUN), "the recipe of a workflow")
    return make_workflow(fields, changes, path, runs_here)


def make_workflow(fields: dict[str, Any], changes: Sequence[str], source: str, runs_here: bool = True) -> Workflow:
    """The workflow that the keys of its file make, see `load_workflow`."""
    _known(fields, _KEYS, "", source)
    steps = _group(fields, "steps", source)
    is_some = bool(steps) and all(isinstance(one, dict) for one in steps.values())
    check(f"steps of {source} must be a mapping of names to steps", is_some, steps)
    _check_names(steps, source)
    verbs = {name: _verb_of(name, step, source) for name, step in steps.items()}
    _with_changes(fields, verbs, changes)
    recipe = copy.deepcopy(fields)
    values = fields.get("values")
    values = {} if values is None else values
    check(f"values of {source} must be a mapping of names to values", isinstance(values, dict), values)
    output = fields.get("output")
    if not isinstance(output, str) or not output:
        raise InputError(
            f"output of {source} must be a folder or a URL, got {shown(output)}; add it, or pass output=FOLDER"
        )
    limits = make_settings(Room, _group(fields, "limits", source), source, "limits.")
    made = {}
    for name, verb in verbs.items():
        given = _with_values(steps[name], values, source)
        made[name] = Step(
            name,
            verb,
            _whole_block(verb, given, f"{source}, step {name}"),
            _words(given, "after", name, source),
            make_settings(Room, _group(given, "needs", f"{source}, step {name}"), source, f"steps.{name}.needs."),
            _words(given, "options", name, source),
            _platform(given.get("where"), verb, name, source),
        )
    for step in made.values():
        _check_references(step, made, source)
        _check_room(step, limits, source, runs_here)
    in_order = _in_order(made, source)
    sweep = None
    if fields.get("sweep") is not None:
        known = KnownSteps(
            verbs,
            {name: step.before for name, step in made.items()},
            {name: _values_of(steps[name]) for name in made},
            {name for name, step in made.items() if step.where},
        )
        sweep = make_sweep(_group(fields, "sweep", source), known, source)
    return Workflow(output.rstrip("/"), in_order, limits, source, sweep, recipe)


def _known(fields: Mapping[str, Any], known: Sequence[str], prefix: str, source: str) -> None:
    for name in fields:
        if name not in known:
            name_shown = printable(name)
            raise InputError(
                f"every key of a recipe must be known, {source} has {prefix}{name_shown}; {nearest_key(name_shown, [known], known)}"
            )


def _check_names(steps: Mapping[Any, Any], source: str) -> None:
    for name in steps:
        rule = f"a step of {source} is named in small letters, digits, - and _, and not {', '.join(_KEYS)}"
        check(rule, isinstance(name, str) and bool(_NAME.fullmatch(name)) and name not in _KEYS, name)


def _verb_of(name: str, step: Mapping[str, Any], source: str) -> str:
    verbs = [key for key in step if key in STEP_KINDS]
    _known(step, (*_OF_A_STEP, *STEP_KINDS), f"steps.{name}.", source)
    check(f"step {name} of {source} must have one command of {', '.join(STEP_KINDS)}", len(verbs) == 1, verbs)
    block = step[verbs[0]]
    check(f"{verbs[0]} of step {name} of {source} must be a mapping", block is None or isinstance(block, dict), block)
    return verbs[0]


def _with_changes(fields: dict[str, Any], verbs: Mapping[str, str], changes: Sequence[str]) -> None:
    """Puts the changes where they belong: those that begin with a step's name into the block of its command."""
    for change in changes:
        first, dot, rest = change.partition(".")
        if dot and first in verbs:
            step, verb = fields["steps"][first], verbs[first]
            step[verb] = block = {} if step[verb] is None else step[verb]
            one_length(block, [rest])
            apply_changes(block, [rest], f"{first}.key=value")
            continue
        key = change.partition("=")[0]
        if key.startswith("sweep.") and _change_sweep(fields, change, verbs):
            continue
        known = (*verbs, *_KEYS)
        if key.partition(".")[0] not in _KEYS:
            name_shown = printable(key)
            raise InputError(
                f"a change must begin with a step or a key of the recipe, got {name_shown};"
                f" {nearest_key(name_shown.partition('.')[0], [known], known)}"
            )
        apply_changes(fields, [change], "values.name=value")
        if key.startswith("steps."):
            # What it made must still be a step.
            name = key.split(".")[1]
            verbs_now = {one: _verb_of(one, step, "the changes") for one, step in fields["steps"].items()}
            check("a change of steps.NAME must be of a step that is there", verbs_now == {**verbs}, name)


def _change_sweep(fields: dict[str, Any], change: str, verbs: Mapping[str, str]) -> bool:
    """Whether a change is of a setting that the sweep tries, or of a seed, whose names hold dots; then it is made."""
    key = change.partition("=")[0].removeprefix("sweep.")
    group, name = (SEEDS, key.removeprefix(f"{SEEDS}.")) if key.startswith(f"{SEEDS}.") else ("", key)
    if name.partition(".")[0] not in (*verbs, "values") or "." not in name:
        return False
    made: dict[str, Any] = {}
    # A key without dots, to be read as all changes are.
    apply_changes(made, [f"value={change.partition('=')[2]}" if "=" in change else change])
    place = fields["sweep"] = fields.get("sweep") or {}
    check("sweep must be a mapping of keys to values", isinstance(place, dict), place)
    if group:
        place[group] = place.get(group) or {}
        place = place[group]
        check("sweep.seeds must be a mapping of keys to values", isinstance(place, dict), place)
    place[name] = made["value"]
    return True


def _group(fields: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    group = fields.get(name)
    group = {} if group is None else group
    check(f"{name} of {source} must be a mapping of keys to values", isinstance(group, dict), group)
    return dict(group)


def _words(step: Mapping[str, Any], key: str, name: str, source: str) -> tuple[str, ...]:
    words = step.get(key)
    words = [] if words is None else [words] if isinstance(words, str) else words
    fits = isinstance(words, list) and all(isinstance(word, str | int | float) for word in words)
    check(f"{key} of step {name} of {source} must be a list of words", fits, words)
    return tuple(str(word) for word in words)


def _with_values(step: Mapping[str, Any], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The step with the recipe's own values in the place of their references; those to other steps stay."""

    def resolve(name: str) -> Any:
        first, _, key = name.partition(".")
        if first != "values":
            return f"${{{name}}}"
        check(f"a value that is referred to must stand under values of {source}", key in values, f"${{{name}}}")
        return copy.deepcopy(values[key])

    made: dict[str, Any] = with_references(dict(step), resolve)
    return made


def _values_of(step: Mapping[str, Any]) -> set[str]:
    """The values of the recipe that a step refers to, by their names."""
    parts = (name.partition(".") for name in references_in(dict(step)))
    return {key for first, _, key in parts if first == "values"}


def _whole_block(verb: str, step: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The block of a step over that of the file, or of the ready recipe, which `from` names."""
    block = dict(step[verb] or {})
    name = step.get("from")
    if name is None:
        return block
    check(f"from of {source} must name a file or a ready recipe", isinstance(name, str) and bool(name), name)
    rule = f"from of {source} is for {', '.join(v for v, kind in STEP_KINDS.items() if kind.file_keys is None)}"
    check(rule, STEP_KINDS[verb].file_keys is None, verb, advice="leave it out")
    below = read_mapping(find_recipe(name, verb) if verb in FOLDERS else name)
    for key in (STEP_KINDS[verb].place, "preset"):
        # Where a run of its own would write.
        below.pop(str(key), None)
    train = block.get("train")
    if isinstance(train, dict):
        one_length(below, [f"train.{key}={value}" for key, value in train.items() if value is not None])
    return _laid_over(below, block)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for key, value in above.items():
        old = made.get(key)
        made[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return made


def _platform(where: Any, verb: str, name: str, source: str) -> dict[str, Any]:
    """The job spec of a step with its platform, empty for one that runs here."""
    where = {"platform": where} if isinstance(where, str) else {} if where is None else where
    check(
        f"where of step {name} of {source} must be a platform, or a job spec with the key platform",
        isinstance(where, dict),
        where,
    )
    platform = where.get("platform", LOCAL)
    known = (LOCAL, *STEP_KINDS[verb].platforms)
    check(f"where of step {name} of {source}: {verb} runs on {', '.join(known)}", platform in known, platform)
    if platform == LOCAL:
        check(f"where of step {name} of {source}: here there is no job spec", set(where) <= {"platform"}, where)
        return {}
    return dict(where)


def _check_references(step: Step, steps: Mapping[str, Step], source: str) -> None:
    for text in references_in(step.block):
        name, _, output = text.partition(".")
        if name not in steps:
            raise InputError(
                f"a reference must name a step or a value of {source}, step {step.name} has ${{{text}}};"
                f" {nearest_key(printable(name), [list(steps)], list(steps))}"
            )
        outputs = steps[name].kind.outputs
        rule = f"step {name} ({steps[name].verb}) has the outputs {', '.join(outputs) or 'none'}"
        check(rule, output in outputs, f"${{{text}}}", advice=f"mend step {step.name} of {source}")
    for name in step.after:
        check(f"after of step {step.name} of {source} must name steps", name in steps, name)


def _check_room(step: Step, limits: Room, source: str, runs_here: bool) -> None:
    for what in ("cores", "memory_gb"):
        needs, there = getattr(step.needs, what), getattr(limits, what)
        if what == "cores" and runs_here:
            there = there or cores_here()
        fits = needs is None or there is None or needs <= there
        check(f"step {step.name} of {source} may need at most limits.{what}, {there}", fits, needs)


def _in_order(steps: Mapping[str, Step], source: str) -> dict[str, Step]:
    """The steps, each behind those that it needs, else as they stand. Raises InputError for a circle."""
    done: dict[str, Step] = {}

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise InputError(f"no step may need itself, {source} has the circle {circle}; take one reference out")
        if name in done:
            return
        for other in steps[name].before:
            place(other, (*path, name))
        done[name] = steps[name]

    for name in steps:
        place(name, ())
    return done
