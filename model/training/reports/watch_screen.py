"""What `clozekit watch` shows of a run: lines from what its directory says, pure functions of it."""

import math
from collections.abc import Sequence

from clozekit.model.training.reports.compare_runs import course, deciding_metric, duration
from clozekit.model.training.run_directory.run_log import Entry
from clozekit.model.training.run_directory.run_state import FINISHED, KILLED, RUNNING, STOPPED, RunState

_BLOCKS = "▁▂▃▄▅▆▇█"
# A run that is silent for so long, and for so many of its usual pauses, is said to hang.
_LEAST_SILENCE_SECONDS, _USUAL_PAUSES = 300.0, 10.0


def usual_pause(run: RunState) -> float:
    """Seconds from one line of the log to the next, the median; 0 where that is not known."""
    points = course(run)
    pauses = sorted(b.seconds - a.seconds for a, b in zip(points, points[1:], strict=False))
    return pauses[len(pauses) // 2] if pauses else 0.0


def hangs(run: RunState) -> bool:
    """Whether a run that is at work has been silent for much longer than usual."""
    silent = run.silent_seconds or 0.0
    return run.state == RUNNING and silent > max(_LEAST_SILENCE_SECONDS, _USUAL_PAUSES * usual_pause(run))


def verdict(run: RunState) -> str:
    """One line: what state the run is in, and what to do where something is to be done."""
    if run.state == FINISHED:
        return f"finished at step {run.step:,}"
    again = "run the same command again to go on"
    if run.state == STOPPED:
        return f"stopped at step {run.step:,}, all is saved; {again}"
    if run.state == KILLED:
        saved = (
            "it had saved nothing yet"
            if run.saved_step is None
            else f"its last checkpoint is of step {run.saved_step:,}"
        )
        return f"ended at step {run.step:,} by an error or a kill, its own screen says which; {saved}; {again}"
    if hangs(run):
        return (
            f"at work, but silent for {duration(run.silent_seconds or 0.0)}, where a line comes every"
            f" {duration(usual_pause(run))}: it may hang (a long evaluation is silent too); look at its own screen"
        )
    if not run.of_kind("train"):
        return "at work, no step is logged yet: the first one compiles"
    return "running"


def screen(run: RunState, width: int = 80) -> list[str]:
    """The run on one screen."""
    lines = [f"{run.name}  {run.directory}", verdict(run), ""]
    train, validation = run.of_kind("train"), run.of_kind("validation")
    if not train:
        return lines
    lines += [progress(run, width), described(train[-1])]
    curve = [entry["loss"] for entry in train if isinstance(entry.get("loss"), int | float)]
    if len(curve) > 1:
        lines.append(f"loss         {spark(curve, max(10, width - 40))}  {curve[0]:.3f} to {curve[-1]:.3f}")
    metric = deciding_metric(run) or "accuracy"
    for entry in validation[-3:]:
        best = min((one["loss"] for one in validation if one["loss"] is not None), default=None)
        mark = "  lowest so far" if entry["loss"] is not None and entry["loss"] == best else ""
        lines.append(f"validation   step {entry['step']:,}: {_measures(entry, metric)}{mark}")
    for entry in run.of_kind("event")[-3:]:
        lines.append(
            f"event        step {entry['step']:,}: {str(entry['event']).replace('_', ' ')} {entry.get('reason', '')}"[
                :width
            ]
        )
    if run.saved_step is not None:
        lines.append(f"checkpoint   step {run.saved_step:,}")
    return lines


def progress(run: RunState, width: int) -> str:
    """How far it is, and how long the rest will take at the speed of late."""
    points = course(run)
    done, last = points[-1], run.last_step
    tokens = f"{done.tokens:,} tokens in {duration(done.seconds)}"
    if last is None:
        return f"step {done.step:,}, {tokens}"
    share = min(1.0, done.step / last)
    size = max(10, min(30, width - 60))
    bar = "#" * round(share * size) + "." * (size - round(share * size))
    late = points[-20:]
    left = ""
    if len(late) > 1 and late[-1].step > late[0].step and done.step < last:
        pace = (late[-1].seconds - late[0].seconds) / (late[-1].step - late[0].step)
        left = f", {duration(pace * (last - done.step))} left"
    return f"[{bar}] {share:.1%}  step {done.step:,} of {last:,}, {tokens}{left}"


def described(entry: Entry) -> str:
    """A line of the log as `watch` shows it where there is no terminal."""
    if entry["kind"] == "validation":
        return f"step {entry['step']:,}: validation {_measures(entry, 'accuracy')}"
    if entry["kind"] == "event":
        return f"step {entry['step']:,}: {str(entry['event']).replace('_', ' ')} {entry.get('reason', '')}".rstrip()
    if entry["kind"] == "length":
        return f"length: {_text(entry['last_step'], ',')} steps"
    shown = [f"step {entry['step']:,}: loss {_text(entry.get('loss'), '.4f')}"]
    for name, label, form in (
        ("distillation_loss", "distillation", ".4f"),
        ("pair_accuracy", "pairs", ".1%"),
        ("detection_accuracy", "detection", ".1%"),
        ("accuracy", "accuracy", ".1%"),
        ("learning_rate", "learning rate", ".3g"),
        ("tokens_per_second", "tokens/s", ",.0f"),
        ("data_wait_share", "data wait", ".1%"),
    ):
        if isinstance(entry.get(name), int | float):
            shown.append(f"{label} {entry[name]:{form}}")
    if entry.get("skipped_steps"):
        shown.append(f"{entry['skipped_steps']} steps skipped")
    return ", ".join(shown)


def _measures(entry: Entry, metric: str) -> str:
    names = dict.fromkeys(("loss", "perplexity", "accuracy", "pair_accuracy", "detection_auc", metric))
    return ", ".join(f"{name} {_text(entry[name], '.4f')}" for name in names if name in entry)


def _text(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def spark(values: Sequence[float], width: int) -> str:
    """A curve of at most `width` letters, each the mean of its share of the values."""
    size = math.ceil(len(values) / width)
    means = [sum(part) / len(part) for part in (values[at : at + size] for at in range(0, len(values), size))]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int((mean - low) / span * len(_BLOCKS)))] for mean in means)
