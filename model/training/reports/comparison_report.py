"""The page of `clozekit compare`: curves of several runs over steps, tokens and time, in one HTML file that opens offline."""

import html
from collections.abc import Sequence

from clozekit.model.training.reports.compare_runs import Compared, curve, deciding_metric, differences, rows_of
from clozekit.model.training.reports.report_charts import Line, line_chart
from clozekit.model.training.reports.report_page import Card, Section, render_page, table
from clozekit.model.training.run_directory.run_state import RunState
from clozekit.tokenizers.common.page_style import COLORS, day

# By it the command knows a page that it wrote itself.
TITLE = "Clozekit comparison"
_COLORS = ("bar", *(name for name in COLORS if name.startswith("curve-")))
_OVER = {"step": "step", "tokens": "tokens", "hours": "hours of training"}


def render_comparison(runs: Sequence[RunState], numbers: Sequence[Compared], loss: float | None) -> str:
    """The whole page."""
    names = [one.name for one in numbers]
    header = ["", *names]
    settings = differences(runs)
    cards = [
        Card("Result", _keys(names) + table(header, [[what, *values] for what, values in rows_of(numbers, loss)])),
        Card(
            "Settings that differ",
            table(header, [[key, *values] for key, values in settings.items()]) if settings else "",
        ),
    ]
    metrics = dict.fromkeys(name for run in runs if (name := deciding_metric(run)) is not None)
    level = None if loss is None else (f"loss {loss:g}", loss)
    sections = [
        Section("Runs", cards),
        Section(
            "Validation loss",
            [_card(runs, names, "validation", "loss", "validation loss", over, level) for over in _OVER],
        ),
        *(
            Section(name.capitalize(), [_card(runs, names, "validation", name, name, over) for over in _OVER])
            for name in metrics
        ),
        Section("Training loss", [_card(runs, names, "train", "loss", "training loss", over) for over in _OVER]),
        Section(
            "Distillation loss",
            [_card(runs, names, "train", "distillation_loss", "distillation loss", over) for over in _OVER],
        ),
        Section(
            "Speed and learning rate",
            [
                _card(runs, names, "train", "tokens_per_second", "tokens a second", "step"),
                _card(runs, names, "train", "learning_rate", "learning rate", "step"),
            ],
        ),
    ]
    best = min(
        (one for one in numbers if one.best_loss is not None), key=lambda one: one.best_loss or 0.0, default=None
    )
    tiles = [("runs", f"{len(runs)}")]
    if best is not None:
        tiles += [("lowest validation loss", f"{best.best_loss:.4f}"), ("by", best.name)]
    return render_page(
        TITLE, ", ".join(names), tiles, sections, "time is that of training, evaluations and checkpoints aside"
    )


def _card(
    runs: Sequence[RunState],
    names: Sequence[str],
    kind: str,
    name: str,
    label: str,
    over: str,
    level: tuple[str, float] | None = None,
) -> Card:
    marker = "o" if kind == "validation" else None
    lines = []
    for number, (run, shown) in enumerate(zip(runs, names, strict=True)):
        places, values = curve(run, kind, name, over)
        lines.append(Line(shown, places, values, day(_COLORS[number % len(_COLORS)]), marker))
    title = f"{label.capitalize()} by {_OVER[over]}"
    return Card(title, line_chart(title, lines, label, baseline=level, x_label=_OVER[over]))


def _keys(names: Sequence[str]) -> str:
    colors = (_COLORS[number % len(_COLORS)] for number in range(len(names)))
    return "".join(
        f'<p><span class="key" style="background: var(--{color})"></span>{html.escape(name)}</p>'
        for name, color in zip(names, colors, strict=True)
    )
