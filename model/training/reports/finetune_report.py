"""The report of a fine-tuning: one HTML file with its metrics and curves."""

from pathlib import Path

from clozekit.model.training.finetuning.finetune import FinetuneResult, FinetuneRun
from clozekit.model.training.reports.pretraining_report import DISTILLATION, REPORT_FILE, curve_cards
from clozekit.model.training.reports.report_charts import TRAIN_COLOR, VALIDATION_COLOR, line, line_chart
from clozekit.model.training.reports.report_page import Card, Section, folded, render_page, table
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.run_directory.small_files import write_text


def write_finetune_report(run: FinetuneRun, result: FinetuneResult) -> str:
    """`report.html` in the directory of a finished run."""
    log = read_metrics(f"{run.directory}/{METRICS_FILE}")
    validation = [entry for entry in log if entry["kind"] == "validation"]
    losses = [
        line(log, "train", "loss", "training", TRAIN_COLOR),
        line(log, "validation", "loss", "validation", VALIDATION_COLOR, "o"),
    ]
    names = [name for name in validation[0] if name not in ("kind", "step") and not name.endswith("loss")]
    metrics = [Card(name, line_chart(name, [line(log, "validation", name, name, marker="o")], name)) for name in names]
    rates = [line(log, "train", "learning_rate", "learning rate")]
    norms = [line(log, "train", "gradient_norm", "gradient norm")]
    rows = [
        [split, *(f"{value:.4f}" for value in values.values())] for split, values in sorted(result["metrics"].items())
    ]
    header = ["file", *next(iter(result["metrics"].values()))]
    sections = [
        Section(f"Best weights, step {result['best_step']:,}", [Card("Metrics", table(header, rows))]),
        Section(
            "Training",
            [
                Card("Loss", line_chart("Loss", losses, "loss")),
                *curve_cards(log, [DISTILLATION]),
                *metrics,
                Card("Learning rate", line_chart("Learning rate", rates, "learning rate")),
                Card("Gradient norm", line_chart("Gradient norm", norms, "norm before clipping")),
            ],
        ),
        Section("Settings", [Card("Configuration", folded("config.yaml of this run", run.to_yaml()))]),
    ]
    first = next(iter(result["metrics"].values()))
    tiles = [(name, f"{value:.4f}") for name, value in first.items()]
    title = f"Clozekit fine-tuning: {Path(run.data.train.examples.source).parent.name or 'run'}"
    page = render_page(title, run.summary, tiles, sections, f"files sha256 {run.data.sha256}")
    path = f"{run.directory}/{REPORT_FILE}"
    write_text(path, page)
    return path
