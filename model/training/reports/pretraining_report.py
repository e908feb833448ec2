"""The report of a pretraining run: one HTML file with its curves, which opens offline in any browser."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clozekit.model.tasks.fill_mask import Guess
from clozekit.model.training.controller import Run
from clozekit.model.training.flops import MFU_FORMULA
from clozekit.model.training.reports.report_charts import (
    BASELINE_COLOR,
    TRAIN_COLOR,
    VALIDATION_COLOR,
    Line,
    bar_chart,
    line,
    line_chart,
)
from clozekit.model.training.reports.report_page import Card, Section, folded, render_page, table
from clozekit.model.training.run_directory.run_log import METRICS_FILE, Entry, read_metrics
from clozekit.model.training.run_directory.small_files import write_text
from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Filled:
    """A text with masks, and the guesses for each."""

    text: str
    guesses: Sequence[Sequence[Guess]]


@dataclass(frozen=True)
class Report:
    """What a report shows. tiles: (label, value); baseline_accuracy: of always guessing the commonest token,
    where that is known."""

    title: str
    summary: str
    tiles: Sequence[tuple[str, str]]
    metrics: Sequence[Entry]
    baseline_accuracy: float | None
    manifest: Manifest
    config_yaml: str
    filled: Sequence[Filled] = ()


@dataclass(frozen=True)
class Curve:
    """A chart of one number of the log, shown where the log holds it: value times `scale`."""

    name: str
    title: str
    y_label: str
    percent: bool = False
    scale: float = 1.0
    note: str = ""


DISTILLATION = Curve(
    "distillation_loss",
    "Distillation loss",
    "distance from the teacher",
    note="Of the training batches, at distill.temperature; the loss above is the usual one.",
)
_OPTIMIZATION = (
    DISTILLATION,
    Curve("pair_loss", "Loss of pairs", "loss, nats a pair"),
    Curve("pair_accuracy", "Accuracy of pairs", "share of the pairs", percent=True),
    Curve("detection_loss", "Loss of the discriminator", "loss, nats a token"),
    Curve("detection_accuracy", "Accuracy of the discriminator", "share of all tokens", percent=True),
    Curve("detection_auc", "AUC of the discriminator", "area under the ROC curve"),
    Curve("replaced_share", "Replaced tokens", "share of all tokens", percent=True),
    Curve("learning_rate", "Learning rate", "learning rate"),
    Curve("masked_share", "Masked tokens", "share of all tokens", percent=True),
    Curve("gradient_norm", "Gradient norm", "norm before clipping"),
    Curve("skipped_steps", "Skipped steps", "steps since the last point", note="A step whose gradient is no number."),
)
_SPEED = (
    Curve(
        "useful_token_share", "Useful tokens", "real tokens of all positions", percent=True, note="The rest is padding."
    ),
    Curve("data_wait_share", "Data wait", "share of the step's time", percent=True),
    Curve("step_seconds", "Step time", "milliseconds a step", scale=1e3),
    Curve("model_flops_utilization", "Model FLOPs utilisation", "MFU", percent=True, note=html.escape(MFU_FORMULA)),
    Curve("memory_bytes", "Memory", "GB at most", scale=1e-9),
    Curve("cost", "Cost", "so far, in the price's currency"),
)


def loss_chart(metrics: Sequence[Entry]) -> str:
    return line_chart("Loss", _both(metrics, "loss"), "loss, nats a masked token")


def accuracy_chart(metrics: Sequence[Entry], baseline: float | None) -> str:
    level = None if baseline is None else ("always the commonest token", baseline)
    return line_chart("Masked accuracy", _both(metrics, "accuracy"), "masked accuracy", percent=True, baseline=level)


def _both(metrics: Sequence[Entry], name: str) -> list[Line]:
    return [
        line(metrics, "train", name, "training", TRAIN_COLOR),
        line(metrics, "validation", name, "validation", VALIDATION_COLOR, "o"),
        # Of a run that follows a stream.
        line(metrics, "window", name, "new windows, before they are trained on", BASELINE_COLOR, "s"),
    ]


def speed_chart(metrics: Sequence[Entry]) -> str:
    real = line(metrics, "train", "tokens_per_second", "real tokens")
    padded = line(metrics, "train", "padded_tokens_per_second", "padding included", TRAIN_COLOR)
    return line_chart("Tokens a second", [padded, real], "tokens a second")


def curve_cards(metrics: Sequence[Entry], curves: Sequence[Curve]) -> list[Card]:
    """A card for each number that the log holds; one that is 0 throughout is said, not drawn."""
    cards = []
    for curve in curves:
        found = line(metrics, "train", curve.name, curve.title, scale=curve.scale)
        if found.values and not any(found.values):
            cards.append(Card(curve.title, f"<p>0 {html.escape(curve.y_label)}, throughout.</p>", curve.note))
        else:
            cards.append(Card(curve.title, line_chart(curve.title, [found], curve.y_label, curve.percent), curve.note))
    return cards


def events_card(metrics: Sequence[Entry]) -> Card:
    """What happened besides training: every event of the log with its fields."""
    events = [entry for entry in metrics if entry["kind"] == "event"]
    rows = []
    for entry in events:
        more = [f"{name} {value}" for name, value in entry.items() if name not in ("kind", "step", "event")]
        rows.append([f"{entry['step']:,}", str(entry["event"]).replace("_", " "), ", ".join(more)])
    return Card("Events", table(["step", "what", ""], rows) if rows else "")


def histogram_chart(split: SplitInfo) -> str:
    width = split.histogram_bin_width
    starts = [index * width for index in range(len(split.length_histogram))]
    title = "Lengths of the packed pieces"
    return bar_chart(title, starts, split.length_histogram, width, "length of a packed piece, tokens", "pieces")


def _filled_card(filled: Filled) -> str:
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
    return f"<h3>{text}</h3>{''.join(rows)}"


def render_report(report: Report) -> str:
    """The whole page; everything is inside it, and only what the log holds is shown."""
    log = report.metrics
    split_texts = ", ".join(
        f"{name}: {split.rows:,} rows, {split.tokens:,} tokens, fill rate {report.manifest.fill_rate(name):.2%}"
        for name, split in report.manifest.splits.items()
    )
    note = (
        "A piece is a document, or a part of one too long for a row. Rows hold up to"
        f" {report.manifest.sequence_length} tokens. {html.escape(split_texts)}."
    )
    curves = [Card("Loss", loss_chart(log)), Card("Masked accuracy", accuracy_chart(log, report.baseline_accuracy))]
    sections = [
        Section("Training", [*curves, *curve_cards(log, _OPTIMIZATION), events_card(log)]),
        Section("Filled masks", [Card("", _filled_card(filled)) for filled in report.filled]),
        Section("Speed", [Card("Tokens a second", speed_chart(log)), *curve_cards(log, _SPEED)]),
        Section(
            "Dataset",
            [
                Card("Lengths of the packed pieces", histogram_chart(report.manifest.splits["train"]), note),
                Card("Configuration", folded("config.yaml of this run", report.config_yaml)),
            ],
        ),
    ]
    footer = f"dataset sha256 {report.manifest.dataset_sha256}"
    return render_page(report.title, report.summary, report.tiles, sections, footer)


def write_report(path: str | Path, report: Report) -> str:
    write_text(str(path), render_report(report))
    return str(path)


def run_tiles(metrics: dict[str, float], log: Sequence[Entry], baseline: float | None) -> list[tuple[str, str]]:
    """The headline numbers of a run: of the last validation, where there is one, and of what the log holds."""
    training = [entry for entry in log if entry["kind"] == "train"]

    def middle(name: str) -> float | None:
        """The median of what the log holds under this name."""
        values = sorted(entry[name] for entry in training if isinstance(entry.get(name), int | float))
        return float(values[len(values) // 2]) if values else None

    speed, mfu = middle("tokens_per_second"), middle("model_flops_utilization")
    useful, wait = middle("useful_token_share"), middle("data_wait_share")
    skipped = sum(entry.get("skipped_steps", 0) for entry in training)
    costs = [entry["cost"] for entry in training if isinstance(entry.get("cost"), int | float)]
    tiles: list[tuple[str, str | None]] = [
        ("validation loss", f"{metrics['loss']:.3f}" if metrics else None),
        ("perplexity", f"{metrics['perplexity']:,.1f}" if metrics else None),
        ("masked accuracy", f"{metrics['accuracy']:.1%}" if metrics else None),
        ("accuracy of pairs", f"{metrics['pair_accuracy']:.1%}" if "pair_accuracy" in metrics else None),
        ("AUC of replaced tokens", f"{metrics['detection_auc']:.3f}" if "detection_auc" in metrics else None),
        ("commonest token", None if baseline is None else f"{baseline:.1%}"),
        ("tokens seen", f"{max((entry.get('tokens_seen') or 0 for entry in training), default=0) / 1e6:,.2f} M"),
        ("tokens a second", None if speed is None else f"{speed:,.0f}"),
        ("useful tokens", None if useful is None else f"{useful:.1%}"),
        ("data wait", None if wait is None else f"{wait:.1%}"),
        ("MFU", None if mfu is None else f"{mfu:.1%}"),
        ("skipped steps", f"{skipped:,}" if skipped else None),
        ("cost", f"{max(costs):,.2f}" if costs else None),
    ]
    return [(label, value) for label, value in tiles if value is not None]


def write_run_report(run: Run, metrics: dict[str, float]) -> str:
    """`report.html` in the directory of a `Run` that was trained."""
    log = read_metrics(f"{run.directory}/{METRICS_FILE}")
    baseline = None
    if run.evaluator is not None and run.measures:
        baseline = run.evaluator.commonest_token_accuracy()[1]
    model = run.config.model
    summary = (
        f"{str(model.family).upper()}, {model.num_layers} layers of {model.hidden_dim}, {run.task.count_params():,} parameters,"
        f" {run.length}, {run.config.train.global_batch_size} rows a step"
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
