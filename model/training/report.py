"""The report of a run: one HTML file with its curves, which opens offline in any browser."""

import html
import io
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozekit.model.fill_mask import Guess
from clozekit.model.training.files import write_text
from clozekit.model.training.log import METRICS_FILE, read_metrics
from clozekit.pipelines.manifest import Manifest, SplitInfo

REPORT_FILE = "report.html"
_TRAIN, _VALIDATION, _BASELINE, _INK, _GRID = "#8fb3f5", "#1d4ed8", "#b45309", "#334155", "#e2e8f0"


@dataclass(frozen=True)
class Filled:
    """A text with masks, and the guesses for each."""

    text: str
    guesses: Sequence[Sequence[Guess]]


@dataclass(frozen=True)
class Report:
    """What a report shows. tiles: (label, value); baseline_accuracy: of always guessing the commonest token."""

    title: str
    summary: str
    tiles: Sequence[tuple[str, str]]
    metrics: Sequence[dict[str, Any]]
    baseline_accuracy: float
    manifest: Manifest
    config_yaml: str
    filled: Sequence[Filled] = ()


def series(metrics: Sequence[dict[str, Any]], kind: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one number in the log."""
    entries = [entry for entry in metrics if entry["kind"] == kind]
    return [entry["step"] for entry in entries], [math.nan if entry[name] is None else entry[name] for entry in entries]


def _svg(draw: Any, width: float = 6.2, height: float = 3.1) -> str:
    """An inline SVG of what `draw(axes)` draws, with text as text and the same bytes for the same input."""
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
    text = target.getvalue()
    return text[text.index("<svg") :]


def _thousands() -> Any:
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:,.0f}")


def loss_chart(metrics: Sequence[dict[str, Any]]) -> str:
    def draw(axes: Any) -> None:
        axes.plot(*series(metrics, "train", "loss"), color=_TRAIN, linewidth=1.2, label="training")
        axes.plot(
            *series(metrics, "validation", "loss"), color=_VALIDATION, marker="o", markersize=4, label="validation"
        )
        axes.xaxis.set_major_formatter(_thousands())
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats a masked token")
        axes.legend()

    return _svg(draw)


def accuracy_chart(metrics: Sequence[dict[str, Any]], baseline: float) -> str:
    def draw(axes: Any) -> None:
        from matplotlib.ticker import PercentFormatter

        axes.plot(*series(metrics, "train", "accuracy"), color=_TRAIN, linewidth=1.2, label="training")
        steps, values = series(metrics, "validation", "accuracy")
        axes.plot(steps, values, color=_VALIDATION, marker="o", markersize=4, label="validation")
        axes.axhline(baseline, color=_BASELINE, linestyle="--", linewidth=1.2, label="always the commonest token")
        # Room for the legend above the curves.
        axes.set_ylim(0, 1.3 * max(values + [baseline]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.xaxis.set_major_formatter(_thousands())
        axes.set_xlabel("step")
        axes.set_ylabel("masked accuracy")
        axes.legend(loc="upper left")

    return _svg(draw)


def histogram_chart(split: SplitInfo) -> str:
    def draw(axes: Any) -> None:
        width = split.histogram_bin_width
        starts = [index * width for index in range(len(split.length_histogram))]
        axes.bar(starts, split.length_histogram, width=width * 0.88, align="edge", color=_VALIDATION)
        axes.set_xlabel("length of a packed piece, tokens")
        axes.yaxis.set_major_formatter(_thousands())
        axes.set_ylabel("pieces")

    return _svg(draw)


def _filled_html(filled: Filled) -> str:
    rows = []
    for number, best in enumerate(filled.guesses, start=1):
        if len(filled.guesses) > 1:
            rows.append(f'<p class="which">mask {number}</p>')
        for guess in best:
            rows.append(
                f'<div class="guess"><code>{html.escape(guess.piece)}</code>'
                f'<div class="track"><div class="bar" style="width:{guess.probability:.2%}"></div></div>'
                f"<span>{guess.probability:.1%}</span></div>"
            )
    text = html.escape(filled.text).replace("[MASK]", '<mark class="mask">[MASK]</mark>')
    return f'<article class="card"><h3>{text}</h3>{"".join(rows)}</article>'


def render_report(report: Report) -> str:
    """The whole page; everything is inside it."""
    tiles = "".join(
        f'<div class="tile"><div class="label">{html.escape(label)}</div><div class="value">{html.escape(value)}</div></div>'
        for label, value in report.tiles
    )
    fill_rates = ", ".join(
        f"{name}: {split.rows:,} rows, {split.tokens:,} tokens, fill rate {report.manifest.fill_rate(name):.2%}"
        for name, split in report.manifest.splits.items()
    )
    train_split = report.manifest.splits["train"]
    filled = "".join(map(_filled_html, report.filled))
    return _PAGE.substitute(
        title=html.escape(report.title),
        summary=html.escape(report.summary),
        tiles=tiles,
        loss=loss_chart(report.metrics),
        accuracy=accuracy_chart(report.metrics, report.baseline_accuracy),
        histogram=histogram_chart(train_split),
        fill_rates=html.escape(fill_rates),
        row_length=report.manifest.sequence_length,
        filled=f'<h2>Filled masks</h2><section class="fills">{filled}</section>' if filled else "",
        config=html.escape(report.config_yaml),
        dataset=report.manifest.dataset_sha256,
    )


def write_report(path: str | Path, report: Report) -> str:
    write_text(str(path), render_report(report))
    return str(path)


def run_tiles(metrics: dict[str, float], log: Sequence[dict[str, Any]], baseline: float) -> list[tuple[str, str]]:
    """The headline numbers of a run."""
    training = [entry for entry in log if entry["kind"] == "train"]
    rates = sorted(entry["tokens_per_second"] for entry in training)
    speed = [("tokens a second", f"{rates[len(rates) // 2]:,.0f}")] if rates else []
    return [
        ("validation loss", f"{metrics['loss']:.3f}"),
        ("perplexity", f"{metrics['perplexity']:.1f}"),
        ("masked accuracy", f"{metrics['accuracy']:.1%}"),
        ("commonest token", f"{baseline:.1%}"),
        ("tokens seen", f"{max((entry['tokens_seen'] for entry in training), default=0) / 1e6:.2f} M"),
        *speed,
    ]


def write_run_report(run: Any, metrics: dict[str, float]) -> str:
    """`report.html` in the directory of a `Run` that was trained."""
    log = read_metrics(f"{run.directory}/{METRICS_FILE}")
    baseline = run.evaluator.commonest_token_accuracy()[1]
    model = run.config.model
    summary = (
        f"{model.family.upper()}, {model.num_layers} layers of {model.hidden_dim}, {run.task.count_params():,} parameters,"
        f" {run.config.train.steps:,} steps of {run.config.train.global_batch_size} rows"
    )
    report = Report(
        "Clozekit training run",
        summary,
        run_tiles(metrics, log, baseline),
        log,
        baseline,
        run.manifest,
        run.config.to_yaml(),
    )
    return write_report(f"{run.directory}/{REPORT_FILE}", report)


_PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: #0f172a; font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { margin: 0; font-size: 30px; letter-spacing: -.02em; }
h2 { margin: 40px 0 14px; font-size: 20px; }
.summary { margin: 6px 0 26px; color: #475569; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile, .card { background: #fff; border: 1px solid #e2e8f0; border-radius: 12px; padding: 16px 18px; }
.tile .label { font-size: 13px; color: #64748b; }
.tile .value { font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.charts, .fills { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px;
  align-items: start; }
.card h3 { margin: 0 0 12px; font-size: 16px; font-weight: 600; }
.card svg { width: 100%; height: auto; display: block; }
.card p { margin: 10px 0 0; font-size: 14px; color: #475569; }
.card p.which { margin: 10px 0 4px; font-size: 13px; color: #64748b; }
.mask { background: #dbeafe; color: #1e40af; border-radius: 5px; padding: 1px 5px; font: 600 14px ui-monospace, monospace; }
.guess { display: grid; grid-template-columns: 9em 1fr 4em; gap: 12px; align-items: center; margin: 5px 0; }
.guess code { font: 14px ui-monospace, monospace; overflow: hidden; text-overflow: ellipsis; }
.guess span { text-align: right; font-size: 14px; font-variant-numeric: tabular-nums; }
.track { background: #eef2f7; border-radius: 4px; height: 10px; }
.bar { background: #1d4ed8; border-radius: 4px; height: 10px; min-width: 2px; }
pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; }
details summary { cursor: pointer; font-size: 14px; color: #475569; }
details pre { margin-top: 12px; }
footer { margin-top: 36px; font-size: 13px; color: #64748b; overflow-wrap: anywhere; }
</style></head><body><main>
<h1>$title</h1>
<p class="summary">$summary</p>
<section class="tiles">$tiles</section>
<h2>Training</h2>
<section class="charts">
<article class="card"><h3>Loss</h3>$loss</article>
<article class="card"><h3>Masked accuracy</h3>$accuracy</article>
</section>
$filled
<h2>Dataset</h2>
<section class="charts">
<article class="card"><h3>Lengths of the packed pieces</h3>$histogram
<p>A piece is a document, or a part of one too long for a row. Rows hold up to $row_length tokens. $fill_rates.</p></article>
<article class="card"><h3>Configuration</h3><details><summary>config.yaml of this run</summary><pre>$config</pre>
</details></article>
</section>
<footer>dataset sha256 $dataset</footer>
</main></body></html>
""")
