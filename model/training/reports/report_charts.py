"""Charts of a run's log as inline SVG, with text as text and the same bytes for the same input."""

import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clozekit.model.training.run_directory.run_log import Entry
from clozekit.tokenizers.common.page_style import day, in_colors_of_the_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter, StrMethodFormatter

TRAIN_COLOR, VALIDATION_COLOR, BASELINE_COLOR = day("bar-soft"), day("bar"), day("level")
_INK, _GRID = day("axis"), day("line")
# More points than a chart has pixels only make the page heavy.
MAX_POINTS = 400
# A legend of more would lie over the curves; pages with so many have the colors in a table.
MOST_IN_LEGEND = 6


@dataclass(frozen=True)
class Line:
    """One curve: numbers by step, or by another measure of how far a run is. color, marker and style as matplotlib names them."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    color: str = VALIDATION_COLOR
    marker: str | None = None
    style: str = "-"


def line(
    metrics: Sequence[Entry],
    kind: str,
    name: str,
    label: str,
    color: str = VALIDATION_COLOR,
    marker: str | None = None,
    scale: float = 1.0,
) -> Line:
    """The curve of one number in the log; empty where the log does not hold it."""
    entries = [entry for entry in metrics if entry["kind"] == kind and isinstance(entry.get(name), int | float)]
    # What is no number (the norm of a skipped step) is a gap in the curve.
    values = [entry[name] * scale if math.isfinite(entry[name]) else math.nan for entry in entries]
    return Line(label, [entry["step"] for entry in entries], values, color, marker)


def thinned(curve: Line, max_points: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """At most about `max_points` points, each the mean of its neighbours, at the step of the last of them."""
    size = -(-len(curve.steps) // max_points) or 1
    steps, values = [], []
    for start in range(0, len(curve.steps), size):
        part = [value for value in curve.values[start : start + size] if not math.isnan(value)]
        steps.append(curve.steps[start : start + size][-1])
        values.append(sum(part) / len(part) if part else math.nan)
    return steps, values


def line_chart(
    title: str,
    curves: Sequence[Line],
    y_label: str,
    percent: bool = False,
    baseline: tuple[str, float] | None = None,
    x_label: str = "step",
) -> str:
    """The curves that hold something, over the steps; "" where none does. baseline: a level to compare with. x_label: what the
    curves are over."""
    curves = [curve for curve in curves if curve.steps]
    if not curves:
        return ""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        for curve in curves:
            marker = curve.marker or ("o" if len(curve.steps) == 1 else None)
            (drawn,) = axes.plot(*thinned(curve), color=curve.color, linewidth=1.2, marker=marker, markersize=4)
            drawn.set(label=curve.label, linestyle=curve.style)
        if baseline is not None:
            axes.axhline(baseline[1], color=BASELINE_COLOR, linestyle="--", linewidth=1.2, label=baseline[0])
        if percent:
            values = [value for curve in curves for value in curve.values if not math.isnan(value)]
            # Room for the legend above the curves.
            axes.set_ylim(min([0.0, *values]), 1.5 * max([0.01, *values, *([baseline[1]] if baseline else [])]))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        elif (
            max((abs(value) for curve in curves for value in curve.values if math.isfinite(value)), default=0) >= 10_000
        ):
            axes.yaxis.set_major_formatter(_thousands())
        farthest = max(curve.steps[-1] for curve in curves)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=x_label == "step"))
        axes.xaxis.set_major_formatter(
            _short_counts() if farthest >= 1e6 else _thousands() if farthest >= 100 else _plain()
        )
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if (len(curves) > 1 or baseline is not None) and len(curves) <= MOST_IN_LEGEND:
            axes.legend(loc="upper left" if percent else "best")

    return svg(draw, title)


def bar_chart(title: str, starts: Sequence[int], counts: Sequence[int], width: int, x_label: str, y_label: str) -> str:
    """A histogram whose bars begin at `starts`."""

    def draw(axes: "Axes") -> None:
        axes.bar(starts, counts, width=width * 0.88, align="edge", color=VALIDATION_COLOR)
        axes.set_xlabel(x_label)
        axes.yaxis.set_major_formatter(_thousands())
        axes.set_ylabel(y_label)

    return svg(draw, title)


def svg(draw: Callable[["Axes"], None], title: str, width: float = 4.6, height: float = 2.6) -> str:
    """An inline SVG of what `draw(axes)` draws."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "clozekit",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
        draw(axes)
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    text = in_colors_of_the_page(target.getvalue())
    # The name is read out to who does not see the picture.
    named = f'<svg role="img" aria-label="{html.escape(title)}"'
    return named + text[text.index("<svg") + len("<svg") :]


def _short_counts() -> "FuncFormatter":
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value / 1e9:g}B" if value >= 1e9 else f"{value / 1e6:g}M")


def _plain() -> "StrMethodFormatter":
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:g}")


def _thousands() -> "StrMethodFormatter":
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:,.0f}")
