"""Losses by the CPU seconds of the runs that reached them, as a picture for the documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

# Seconds, and what the runs of so many seconds ended at, one a seed.
Points = Sequence[tuple[float, Sequence[float]]]


def save_chart(path: Path, panels: Mapping[str, Mapping[str, Points]], y_label: str) -> None:
    """An SVG: a panel for each title, a line for each name through the middle of its runs, and their range.

    Every point is runs of its own with a schedule that ends there; the seconds stand on a scale of powers.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clozekit", "font.size": 10}):
        figure, all_axes = pyplot.subplots(
            1, len(panels), figsize=(5.2 * len(panels), 3.6), layout="constrained", squeeze=False, sharey=True
        )
        # One look for a name in all panels.
        names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
        for axes, (title, lines) in zip(all_axes[0], panels.items(), strict=True):
            for name, points in lines.items():
                points, number = sorted(points), names.index(name)
                seconds = [place for place, _ in points]
                middle = [sorted(losses)[len(losses) // 2] for _, losses in points]
                reach = [
                    [value - min(losses) for value, (_, losses) in zip(middle, points, strict=True)],
                    [max(losses) - value for value, (_, losses) in zip(middle, points, strict=True)],
                ]
                look = {
                    "color": f"C{number}",
                    "marker": "os^Dv"[number % 5],
                    "markersize": 4,
                    "linewidth": 1.2,
                    "capsize": 2,
                }
                axes.errorbar(seconds, middle, yerr=reach, label=name, **look)
            axes.set(title=title, xlabel="CPU seconds of a run", xscale="log")
            ticks = sorted({place for points in lines.values() for place, _ in points})
            axes.set_xticks(ticks)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(alpha=0.3)
        all_axes[0][0].set_ylabel(y_label)
        all_axes[0][0].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        pyplot.close(figure)
