"""The plan of a workflow: for each step where it goes, what it is made from, whether it is done, and else why it is not."""

import copy
import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.workflow.input_content import ContentHashes, content_of, own_code_of
from clozekit.deploy.workflow.references import references_in, with_references
from clozekit.deploy.workflow.step_inputs import check_inputs, find_values
from clozekit.deploy.workflow.step_record import FACTS_FILE, damage, read_json, read_record
from clozekit.deploy.workflow.workflow_file import Step, Workflow
from clozekit.model.training.settings.loop_settings import flattened
from clozekit.tokenizers.settings.settings_files import check, make_settings, set_key

HASHES_FILE, STATE_FILE = "hashes.json", "workflow.json"
# Of a fingerprint, in the name of a folder.
SHOWN_DIGITS = 12
_MOST_REASONS = 3
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_ABSENT = object()


@dataclass(frozen=True)
class PlannedStep:
    """A step with all that is known of it before it runs.

    fingerprint: of what it writes: its settings, the content of what it reads, and the fingerprints of the steps before it.
    folder: its own; place: where it writes; block: its settings without references; words: of its command line, those that stand for
    settings that go into no file. is_done: what it wrote is whole; reason: why it is
    to be done, "" where it is done. is_begun: an earlier start has not come to its end. before: the keys of the steps that come
    first.
    """

    step: Step
    fingerprint: str
    facts: dict[str, Any]
    folder: str
    place: str | None
    block: dict[str, Any]
    words: tuple[str, ...]
    is_done: bool
    reason: str
    is_begun: bool = False
    before: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def key(self) -> str:
        """What tells it from all others, of other trials of a sweep too."""
        return posixpath.basename(self.folder)

    def output(self, name: str) -> str:
        """Where an output is that others refer to."""
        kind = self.step.kind
        if name == "preset" and kind.place == "directory" and self.block.get("preset"):
            return str(self.block["preset"])
        assert self.place is not None
        below = kind.outputs[name]
        return posixpath.join(self.place, below) if below else self.place

    def kept(self) -> list[str]:
        """The places whose content says whether what the step wrote is whole."""
        kind = self.step.kind
        names = {path: name for name, path in kind.outputs.items()}
        if self.place is None:
            return []
        return [self.output(names[path]) if path in names else posixpath.join(self.place, path) for path in kind.kept]


# A step, its settings without references, its job where it runs elsewhere -> the words of its command line that stand for settings
# that go into no file. Raises InputError where the command or the platform would refuse it.
WordsOf = Callable[[Step, Mapping[str, object], Job | None], list[str]]


def plan(
    workflow: Workflow,
    until: str | None,
    hashes: ContentHashes,
    words_of: WordsOf,
    known: Sequence[PlannedStep] = (),
) -> list[PlannedStep]:
    """All steps that `until` needs, in the order in which they run. known: of a plan that was made just now of a recipe like this
    one: the steps that are the same are taken from it. Raises InputError for settings that a command would refuse."""
    state = read_json(posixpath.join(workflow.output, STATE_FILE)) or {}
    planned: dict[str, PlannedStep] = {}
    for step in workflow.needed_for(until):
        same = (one for one in known if one.step == step and one.before == _keys_before(step, planned))
        found = next(same, None)
        planned[step.name] = found or _planned(workflow, step, planned, state.get("steps", {}), hashes, words_of)
    hashes.save()
    return list(planned.values())


def _keys_before(step: Step, planned: Mapping[str, PlannedStep]) -> tuple[str, ...]:
    return tuple(planned[name].key for name in step.before)


def _planned(
    workflow: Workflow,
    step: Step,
    before: Mapping[str, PlannedStep],
    last: Mapping[str, str],
    hashes: ContentHashes,
    words_of: WordsOf,
) -> PlannedStep:
    facts = facts_of(step, {name: one.fingerprint for name, one in before.items()}, hashes)
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    made = _laid_out(workflow, step, before, facts, fingerprint, words_of)
    check_inputs(
        step, made.block, facts["inputs"], [one.place for one in before.values() if one.place], workflow.source
    )
    record = read_record(made.folder)
    reason = _reason(workflow, step, facts, last.get(step.name), before)
    is_done = False
    if record is not None:
        harm = damage(record, hashes)
        is_done, reason = harm is None, harm or ""
    is_begun = record is None and read_json(posixpath.join(made.folder, FACTS_FILE)) is not None
    if is_begun:
        reason = "it was begun and has not come to its end"
    return replace(made, is_done=is_done, reason=reason, is_begun=is_begun)


def check_settings(
    workflow: Workflow, until: str | None, words_of: WordsOf, volumes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raises InputError for settings that a command would refuse. No file of the workflow is looked at. volumes: claim -> where the
    pod has it of a step that runs on GKE."""
    known: dict[str, PlannedStep] = {}
    for step in workflow.needed_for(until):
        known[step.name] = _laid_out(workflow, step, known, {}, "0" * 64, words_of, volumes)


def _laid_out(
    workflow: Workflow,
    step: Step,
    before: Mapping[str, PlannedStep],
    facts: dict[str, Any],
    fingerprint: str,
    words_of: WordsOf,
    volumes: Mapping[str, str] = MappingProxyType({}),
) -> PlannedStep:
    """The step with its folder, its settings without references and its words, all of them checked; taken for not done."""
    folder = folder_of(workflow.output, step.name, fingerprint)
    kind = step.kind

    def resolve(text: str) -> str:
        name, _, output = text.partition(".")
        return before[name].output(output)

    block = with_references(step.block, resolve)
    place = None
    if kind.place is not None:
        place = block[kind.place] = block.get(kind.place) or posixpath.join(folder, kind.name)
    if kind.check is not None:
        # Some take keys out as they read them.
        kind.check(copy.deepcopy(block), f"step {step.name} of {workflow.source}")
    job = None
    if step.where:
        source = f"where of step {step.name} of {workflow.source}"
        job = make_settings(Job, job_of(step, fingerprint, folder, place), source)
        if volumes:
            job = replace(job, kubernetes=replace(job.kubernetes, volumes={**job.kubernetes.volumes, **volumes}))
        rule = f"output in {source} must be the {kind.place} of its {step.verb}, or be left out"
        check(rule, job.output in (None, place), job.output, advice="a platform that needs it needs both")
    words = words_of(step, block, job)
    keys_before = _keys_before(step, before)
    return PlannedStep(
        step, fingerprint, facts, folder, place, block, tuple(words), is_done=False, reason="", before=keys_before
    )


def job_of(step: Step, fingerprint: str, folder: str, place: str | None = None) -> dict[str, Any]:
    """The job spec of a step that runs elsewhere. Its name goes by what it makes, so that a leader finds the job of an earlier one;
    what the submitter writes is in the step's folder. place: where the step writes, which a TPU VM must be told."""
    job: dict[str, Any] = {"name": f"{step.name.replace('_', '-')}-{fingerprint[:8]}"}
    job |= {key: value for key, value in step.where.items() if key != "platform"}
    if step.where["platform"] == "tpu" and place is not None:
        job.setdefault("output", place)
    if step.where["platform"] == "slurm":
        job["slurm"] = {"folder": posixpath.join(folder, "jobs"), **(job.get("slurm") or {})}
    return job


def folder_of(output: str, name: str, fingerprint: str) -> str:
    """The folder of a step; each fingerprint has its own, so that what was made before stays."""
    return posixpath.join(output, "steps", f"{name}-{fingerprint[:SHOWN_DIGITS]}")


def facts_of(step: Step, fingerprints: Mapping[str, str], hashes: ContentHashes) -> dict[str, Any]:
    """What decides what a step writes. Where it and the steps before it write is no part of it, nor are the names of what it
    reads where its content is known."""
    kind = step.kind
    block = {key: value for key, value in step.block.items() if key not in kind.idle and key != kind.place}
    inputs: dict[str, list[str]] = {}
    for key, value in find_values(block, kind.inputs):
        texts = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(text, str) for text in texts) or any(references_in(texts)):
            continue
        contents = [content_of(text, hashes) for text in texts]
        if all(content is not None for content in contents):
            inputs[key] = sorted(mark for content in contents for mark in content or [])
            block = _without(block, key)
    return {
        "command": step.verb,
        "made_by": kind.made_by,
        "settings": _with_numbers(block),
        "inputs": inputs,
        "own_code": own_code_of(block, hashes),
        "before": {name: fingerprints[name] for name in step.before if name not in step.after},
    }


def _with_numbers(value: Any) -> Any:
    """The nested value with numbers for texts such as 1e-3, which YAML takes for text and every setting for a number."""
    if isinstance(value, dict):
        return {key: _with_numbers(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_numbers(part) for part in value]
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _without(block: dict[str, Any], key: str) -> dict[str, Any]:
    made = copy.deepcopy(block)
    place: Any = made
    *groups, name = key.split(".")
    for group in groups:
        place = place[int(group)] if isinstance(place, list) else place[group]
    if isinstance(place, dict):
        del place[name]
    else:
        set_key(made, key, None)
    return made


def _reason(
    workflow: Workflow, step: Step, facts: Mapping[str, Any], last: str | None, before: Mapping[str, PlannedStep]
) -> str:
    """Why a step with these facts is not the one that was made before."""
    was = None if last is None else read_json(posixpath.join(folder_of(workflow.output, step.name, last), FACTS_FILE))
    if was is None:
        return "it was not made yet"
    changes = differences(was, facts)
    return "; ".join(changes) or "it is another than the last one"


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed between the facts of two fingerprints of a step, in words."""
    found = []
    if was.get("command") != now["command"]:
        found.append(f"the command {was.get('command')} -> {now['command']}")
    elif was.get("made_by") != now["made_by"]:
        found.append("this Clozekit writes it otherwise")
    old, new = flattened(was.get("settings", {})), flattened(now["settings"])
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key, _ABSENT) != new.get(key, _ABSENT)]
    found += [f"{key} {_shown(old, key)} -> {_shown(new, key)}" for key in keys[:_MOST_REASONS]]
    if len(keys) > _MOST_REASONS:
        found.append(f"{len(keys) - _MOST_REASONS} keys more")
    for what, says in (("inputs", "what {} names has changed"), ("own_code", "the code of {} has changed")):
        old, new = was.get(what, {}), now[what]
        found += [says.format(key) for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    old, new = was.get("before", {}), now["before"]
    found += [f"{name} changes" for name in new if name in old and old[name] != new[name]]
    found += [f"it reads {name} now" for name in new if name not in old]
    return found


def _shown(fields: Mapping[str, Any], key: str) -> str:
    return json.dumps(fields[key], default=str) if key in fields else "(nothing)"
