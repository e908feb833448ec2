"""The page of `clozekit compare`: curves of several runs over steps, tokens and time, in one HTML file that opens offline."""

import html
from collections.abc import Sequence

from clozekit.model.training.reports.compare_runs import Compared, curve, deciding_metric, differences, rows_of
from clozekit.model.training.reports.report_charts import MOST_IN_LEGEND, Line, line_chart
from clozekit.model.training.reports.report_page import Card, Section, render_page, table
from clozekit.model.training.run_directory.run_state import RunState
from clozekit.tokenizers.common.page_style import COLORS, day

# By it the command knows a page that it wrote itself.
TITLE = "Clozekit comparison"
_COLORS = ("bar", *(name for name in COLORS if name.startswith("curve-")))
# Where there are more runs than colors, the next ones are dashed, and then dotted.
_STYLES = (("-", "solid"), ("--", "dashed"), (":", "dotted"))
_OVER = {"step": "step", "tokens": "tokens", "hours": "hours of training"}


def render_comparison(runs: Sequence[RunState], numbers: Sequence[Compared], loss: float | None) -> str:
    """The whole page."""
    names = [one.name for one in numbers]
    metrics = dict.fromkeys(name for run in runs if (name := deciding_metric(run)) is not None)
    level = None if loss is None else (f"loss {loss:g}", loss)
    sections = [
        Section("Runs", _result_cards(runs, numbers, loss)),
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


def _result_cards(runs: Sequence[RunState], numbers: Sequence[Compared], loss: float | None) -> list[Card]:
    """What the runs came to and where their settings differ: a column a run, and a line a run where there are many."""
    names, settings, results = [one.name for one in numbers], differences(runs), rows_of(numbers, loss)
    if len(runs) <= MOST_IN_LEGEND:
        header = ["", *names]
        keys = "".join(f"<p>{_key(number)}{html.escape(name)}</p>" for number, name in enumerate(names))
        differ = table(header, [[key, *values] for key, values in settings.items()]) if settings else ""
        return [
            Card("Result", keys + table(header, [[what, *values] for what, values in results])),
            Card("Settings that differ", differ),
        ]
    columns = [*settings.items(), *results]
    head = "".join(f"<th>{html.escape(what)}</th>" for what in ("run", *(what for what, _ in columns)))
    lines = []
    for number, name in enumerate(names):
        cells = "".join(f"<td>{html.escape(values[number])}</td>" for _, values in columns)
        lines.append(f'<tr><td style="white-space: nowrap">{_key(number)}{html.escape(name)}</td>{cells}</tr>')
    return [Card("", f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>')]


def _style_of(number: int) -> tuple[str, str]:
    """How the curve of a run is drawn, in the words of matplotlib and of CSS."""
    return _STYLES[number // len(_COLORS) % len(_STYLES)]


def _key(number: int) -> str:
    """The color of a run beside its name."""
    color, style = _COLORS[number % len(_COLORS)], _style_of(number)[1]
    if style == "solid":
        return f'<span class="key" style="background: var(--{color})"></span>'
    return f'<span class="key" style="height: 0; border-radius: 0; border-top: 4px {style} var(--{color})"></span>'


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
        color, style = day(_COLORS[number % len(_COLORS)]), _style_of(number)[0]
        lines.append(Line(shown, places, values, color, marker, style))
    title = f"{label.capitalize()} by {_OVER[over]}"
    return Card(title, line_chart(title, lines, label, baseline=level, x_label=_OVER[over]))
